"""A source of small clips and a scripted annotator, for tests of annotation."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from thinkseg.annotation.prompts import Steps, frame_phrase, write_steps
from thinkseg.annotation.tasks import Task
from thinkseg.errors import ModelError
from thinkseg.ops.masks import from_stacks
from thinkseg.selection.strata import Candidate, target_count
from thinkseg.types import Reply, VideoSample, View

VIEW = View(3, (16, 16))


class Clips:
    """Questions about clips of four 8x8 frames, one per second, with ids like "single/0".

    "single": the upper left quarter from frame 2 on; "multiple": also a strip at the bottom; "none": no target;
    "hidden": a target that is never visible. errors: raised by `sample`, by id.
    """

    def __init__(self, make: Callable[..., VideoSample], *names: str) -> None:
        self.settings = {"data": "clips"}
        self.candidates = [
            Candidate(name, name, "referring", target_count(_masks(name.partition("/")[0]).shape[0])) for name in names
        ]
        self.errors: dict[str, Exception] = {}
        self._make = make

    def fingerprint(self, name: str) -> dict[str, str]:
        return {"query": "the cat", "masks": name}

    def sample(self, name: str) -> tuple[VideoSample, range]:
        if name in self.errors:
            raise self.errors[name]
        truth = from_stacks(_masks(name.partition("/")[0]))
        return replace(self._make(name), truth=truth, query="the cat"), range(4)


def _masks(kind: str) -> np.ndarray:
    masks = np.zeros(({"single": 1, "multiple": 2, "hidden": 1, "none": 0}[kind], 4, 8, 8), bool)
    if kind in ("single", "multiple"):
        masks[0, 2:, :4, :4] = True
    if kind == "multiple":
        masks[1, 2:, 7] = True
    return masks


class Script:
    """An annotator whose replies, or ModelErrors, are a function of the task. prompted: ids of all tasks so far."""

    boxes_in_thinking = False
    concurrency = 1
    max_reply_tokens = 50

    def __init__(self, reply: Callable[[Task], str | Reply | ModelError], name: str = "script") -> None:
        self.name = name
        self.prompted: list[str] = []
        self._reply = reply

    def submit(self, task: Task, template: int) -> Future[Reply]:
        self.prompted.append(task.draft.id)
        future: Future[Reply] = Future()
        reply = self._reply(task)
        if isinstance(reply, ModelError):
            future.set_exception(reply)
        else:
            future.set_result(reply if isinstance(reply, Reply) else Reply(reply, num_tokens=10, num_prompt_tokens=100))
        return future


def good(task: Task) -> str:
    """Returns a reply that is kept."""
    if task.keyframe_label is None:
        return steps_text(
            "A dog sleeps in the grass from beginning to end.", "A cat is asked for.", "There is no cat here."
        )
    moment = frame_phrase(task.keyframe_label, task.draft.label_unit)
    return steps_text(
        "A cat comes into the garden and sits down.",
        f"Nobody else is here. The cat shows best at {moment}.",
        "It sits in the grass and looks about.",
    )


def steps_text(summary: str, reason: str, place: str) -> str:
    return write_steps(Steps(summary, reason, place))
