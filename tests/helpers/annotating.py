"""Questions about a small clip, and an annotator by a script, for tests of annotating."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from thinkseg.annotation.candidates import Candidate, targets_of
from thinkseg.annotation.tasks import Task
from thinkseg.errors import ModelError
from thinkseg.ops.masks import from_stacks
from thinkseg.types import Reply, VideoSample, View

VIEW = View(3, (16, 16))


class Clips:
    """A source of questions about clips of four 8x8 frames, one a second, named like "single/0".

    "single": the upper left quarter from frame 2 on; "multiple": that and a strip at the bottom; "none"; "unseen": an
    object that never shows. `broken` names those that cannot be read.
    """

    def __init__(self, make: Callable[..., VideoSample], *names: str) -> None:
        self.settings = {"data": "clips"}
        self.candidates = [
            Candidate(name, name, "referring", targets_of(_masks(name.partition("/")[0]).shape[0])) for name in names
        ]
        self.broken: dict[str, Exception] = {}
        self._make = make

    def sample(self, name: str) -> tuple[VideoSample, range]:
        if name in self.broken:
            raise self.broken[name]
        truth = from_stacks(_masks(name.partition("/")[0]))
        return replace(self._make(name), truth=truth, query="the cat"), range(4)


def _masks(kind: str) -> np.ndarray:
    masks = np.zeros(({"single": 1, "multiple": 2, "unseen": 1, "none": 0}[kind], 4, 8, 8), bool)
    if kind in ("single", "multiple"):
        masks[0, 2:, :4, :4] = True
    if kind == "multiple":
        masks[1, 2:, 7] = True
    return masks


class Script:
    """An annotator that says what a function of the task says; `asked` lists whom. A ModelError is no answer."""

    tells_boxes = False
    at_once = 1
    longest_reply = 50

    def __init__(self, say: Callable[[Task], str | Reply | ModelError], name: str = "script") -> None:
        self.name = name
        self.asked: list[str] = []
        self._say = say

    def ask(self, task: Task, template: int) -> Future[Reply]:
        self.asked.append(task.draft.id)
        future: Future[Reply] = Future()
        said = self._say(task)
        if isinstance(said, ModelError):
            future.set_exception(said)
        else:
            future.set_result(said if isinstance(said, Reply) else Reply(said, num_tokens=10, num_prompt_tokens=100))
        return future


def good(task: Task) -> str:
    """A reply with nothing against it."""
    if task.keyframe_label is None:
        return form("A dog sleeps in the grass from beginning to end.", "A cat is asked for.", "There is no cat here.")
    moment = f"{task.keyframe_label} s" if task.draft.clock == "seconds" else f"frame {task.keyframe_label}"
    return form(
        "A cat comes into the garden and sits down.",
        f"Nobody else is here. The cat shows best at {moment}.",
        "It sits in the grass and looks about.",
    )


def form(summary: str, reason: str, place: str) -> str:
    return f"<summary>{summary}</summary><reason>{reason}</reason><place>{place}</place>"
