"""Workers of `evaluate` and `segment` that follow a script, for processes of Ray."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from boxtracker import BoxTracker
from rayworkers import die
from thinkseg.cli.commands.videos.segment_many import Answering, Job
from thinkseg.cli.model_options import ChosenModels, PolicyOptions
from thinkseg.cli.output_options import OutputOptions
from thinkseg.console import Progress
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.readers.video_window import Window
from thinkseg.evaluation.evaluate import Evaluator, Method
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.scale.ray_cluster import Placement
from thinkseg.types import Dialogue, Turn, View


def policy(deadly: Sequence[str] = (), once: Path | None = None) -> ScriptedPolicy:
    """Replies that depend on the question alone; one in four cannot be used.

    deadly: queries that end the process. once: the file that notes the first death, after which there is none.
    """

    def reply(dialogue: Dialogue) -> str:
        assert isinstance(dialogue[0], Turn)
        question = str(dialogue[0].content[-1])
        if any(query in question for query in deadly) and not (once and once.exists()):
            if once:
                once.touch()
            die()
        number = zlib.crc32(question.encode())
        if number % 4 == 0:
            return "no idea"
        box = [number % 9, number // 9 % 7, number % 9 + 9, number // 9 % 7 + 9]
        return f'<think>.</think><answer>{{"keyframe_timestamp": 0, "bbox_2d_list": [{box}]}}</answer>'

    return ScriptedPolicy(reply, view=View(2, (32, 24)))


def evaluator(benchmark: Benchmark, deadly: Sequence[str] = (), once: Path | None = None) -> Evaluator:
    """A worker of `evaluate`. deadly, once: see `policy`."""
    return Evaluator(benchmark, Method("veason", policy(deadly, once), BoxTracker(), batch_size=2))


def answering(packs: bool) -> Answering:
    """A worker of `segment`. packs: for processes of Ray."""
    names, asking = ChosenModels("shapes", "flow"), PolicyOptions(chain="veason")
    placement = Placement(2) if packs else None
    job = Job((), Path(), names, asking, OutputOptions(), ("masks", "csv"), Window(), None, placement)
    with patch.multiple("thinkseg.models", load_policy=lambda *_, **__: policy(), load_tracker=BoxTracker):
        return Answering(job, True, Progress())
