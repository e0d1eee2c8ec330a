"""Workers of a script for processes of Ray. Here, because what Ray pickles must be importable there."""

import os
import signal
import time
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np

from thinkseg.cli.commands.videos.segment_many import Answering, Job
from thinkseg.cli.model_options import ChosenModels, PolicyOptions
from thinkseg.cli.output_options import OutputOptions
from thinkseg.console import Progress
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.readers.video_window import Window
from thinkseg.errors import ModelError
from thinkseg.evaluation.evaluate import Evaluator, Method
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import from_stacks
from thinkseg.scale.ray_cluster import Placement
from thinkseg.types import Dialogue, Frames, Masklets, ProgressCallback, Turn, View


def die() -> None:
    """Ends this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@dataclass
class Script:
    """A worker, and what makes it. Items are texts such as "a/1", of the video "a".

    folder: where it notes each item that it begins. Items of `deadly` end its process, the first `deaths` times.
    """

    folder: Path
    deadly: tuple[str, ...] = ()
    deaths: int = 99
    broken: tuple[str, ...] = ()
    start: str = ""

    @property
    def settings(self) -> dict[str, str]:
        return {"model": "script"}

    def __call__(self) -> "Script":
        if self.start == "die":
            die()
        if self.start:
            raise ModelError(self.start)
        return self

    def answer(self, items: Sequence[str]) -> Generator[tuple[str | None, str], None, None]:
        for item in items:
            note = self.folder / item.replace("/", "-")
            earlier = len(note.read_text()) if note.exists() else 0
            note.write_text("." * (earlier + 1))
            if item in self.deadly and earlier < self.deaths:
                die()
            if item in self.broken:
                raise ModelError(f"{item}: cannot be answered")
            yield item, f"{item} by {os.getpid()}"
        yield None, "end"


def video_of(item: str) -> str:
    return item.partition("/")[0]


class BoxTracker:
    """Fills each box in every frame."""

    name, device = "boxes", "cpu"

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        width, height = video.size_wh
        masks = np.zeros((len(boxes), len(video), height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int), strict=True):
            mask[:, y1:y2, x1:x2] = True
        return from_stacks(masks)


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
    with patch.multiple("thinkseg.models", load_policy=lambda *_, **__: policy(), load_tracker=_boxes):
        return Answering(job, True, Progress())


def _boxes(*_: object, **__: object) -> BoxTracker:
    return BoxTracker()
