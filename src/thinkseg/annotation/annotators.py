"""Who explains: tasks in, replies out, each as soon as it is there."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from thinkseg.annotation.claims import sentences
from thinkseg.annotation.prompts import Steps, ask, write_steps
from thinkseg.annotation.sampling import chance
from thinkseg.annotation.tasks import Task, limits
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.traces import Observation, observe, trace
from thinkseg.errors import SettingsError
from thinkseg.types import Reply, View

if TYPE_CHECKING:
    from thinkseg.models.policies.endpoint import EndpointPolicy

RULES = "rules"


class Annotator(Protocol):
    """Explains how one comes from a question to its answer, in the form of `annotation.prompts`.

    tells_boxes: its texts hold boxes in the units of the view. at_once: questions that may be on their way together.
    longest_reply: tokens that a reply has at most.
    """

    name: str
    tells_boxes: bool
    at_once: int
    longest_reply: int

    def ask(self, task: Task, template: int) -> Future[Reply]:
        """The reply, once it has come, or a ModelError if none can be had. template: one of several wordings."""
        ...


class Served:
    """A vision-language model behind an OpenAI-compatible API."""

    tells_boxes = False

    def __init__(self, policy: EndpointPolicy, seed: int) -> None:
        self.name = policy.name
        self.at_once = policy.service.settings.concurrency
        self.longest_reply = policy.sampling.max_new_tokens
        self._policy = policy
        self._seed = seed

    def ask(self, task: Task, template: int) -> Future[Reply]:
        seed = chance(self._seed, "reply", task.draft.id) % 2**31
        return self._policy.submit((ask(task, template),), seed)


def connect(name: str, view: View, seed: int, **settings: Any) -> Annotator:
    """The annotator that a name stands for: "rules", or a served model, "openai:MODEL@BASE_URL".

    settings: of a served model, as `thinkseg.models.policies.endpoint.EndpointPolicy.connect` takes them.
    Raises SettingsError for other names, ModelError if its server does not answer.
    """
    from thinkseg.models.policies.endpoint import SCHEME, EndpointPolicy

    if name == RULES:
        return Rules(view)
    if not name.startswith(SCHEME):
        raise SettingsError(f"no annotator {name!r}: give {RULES} (for shapes) or openai:MODEL@BASE_URL")
    # It writes no boxes, so how it would write them does not matter.
    return Served(EndpointPolicy.connect(name, assumed="pixels", seed=seed, **settings), seed)


class Rules:
    """Writes what a careful observer would think, from the simulation's own state.

    view: its boxes are in the units of that view. Samples must be those of `thinkseg.data.shapes.load`.
    """

    name = "rules"
    tells_boxes = True
    at_once = 1
    longest_reply = 0

    def __init__(self, view: View) -> None:
        self._limit_wh = limits(view)

    def ask(self, task: Task, template: int) -> Future[Reply]:
        draft = task.draft
        split, _, index = draft.id.rpartition("-")
        one = episode(split, int(index))
        sight = observe(one.clip, draft.indices, draft.labels, self._limit_wh)
        if draft.keyframe is not None:
            sight = _seen_best(sight, one.questions[0].targets, draft.indices.index(draft.keyframe))
        said = sentences(trace(sight, one.questions[0], template).thinking)
        reply: Future[Reply] = Future()
        reply.set_result(Reply(write_steps(Steps(" ".join(said[:-2]), said[-2], said[-1]))))
        return reply


def _seen_best(sight: Observation, targets: tuple[int, ...], keyframe: int) -> Observation:
    """The same sight, in which no frame shows more of the targets than the keyframe: traces choose the one that does.

    Of the five best frames any may be the keyframe; what is in sight stays in sight.
    """
    most = sight.areas[keyframe, list(targets)]
    areas = sight.areas.copy()
    others = np.arange(len(areas)) != keyframe
    for target, area in zip(targets, most, strict=True):
        areas[others, target] = np.minimum(areas[others, target], max(1, area - 1))
    return replace(sight, areas=areas)
