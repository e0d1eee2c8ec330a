"""Annotators: a served vision-language model, or the rules of the shapes world."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from thinkseg.annotation.claims import sentences
from thinkseg.annotation.prompts import Steps, annotation_turn, write_steps
from thinkseg.annotation.tasks import Task
from thinkseg.chains.frames import box_limits
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.traces import Observation, observe, trace
from thinkseg.errors import SettingsError
from thinkseg.prompts import BUILT_IN, VeasonPrompts
from thinkseg.selection.draw import seeded_hash
from thinkseg.types import Reply, View

if TYPE_CHECKING:
    from thinkseg.models.policies.endpoint import EndpointPolicy

RULES = "rules"


class Annotator(Protocol):
    """Explains how a question leads to its answer, in the format of `annotation.prompts`.

    boxes_in_thinking: replies contain boxes in the coordinates of the view. max_reply_tokens: token limit of a reply.
    concurrency: number of requests that may be in flight.
    """

    name: str
    boxes_in_thinking: bool
    concurrency: int
    max_reply_tokens: int

    def submit(self, task: Task, template: int) -> Future[Reply]:
        """Requests a reply. The future raises ModelError if there is none. template: index of the prompt template."""
        ...


class ServedAnnotator:
    """A vision-language model behind an OpenAI-compatible API."""

    boxes_in_thinking = False

    def __init__(self, policy: EndpointPolicy, seed: int, labels: VeasonPrompts = BUILT_IN.veason) -> None:
        self.name = policy.name
        self.fingerprint = policy.fingerprint
        self.concurrency = policy.client.settings.concurrency
        self.max_reply_tokens = policy.sampling.max_new_tokens
        self._policy = policy
        self._seed = seed
        self._labels = labels

    def submit(self, task: Task, template: int) -> Future[Reply]:
        seed = seeded_hash(self._seed, "reply", task.draft.id) % 2**31
        return self._policy.submit((annotation_turn(task, template, self._labels),), seed)


def connect(name: str, view: View, seed: int, **settings: Any) -> Annotator:
    """Returns an annotator: "rules", or a served model, "openai:MODEL@BASE_URL".

    view: its wording labels the frames. settings: of a served model, see
        `thinkseg.models.policies.endpoint.EndpointPolicy.connect`.
    Raises SettingsError for other names, ModelError if the server does not answer.
    """
    from thinkseg.models.policies.endpoint import SCHEME, EndpointPolicy, without_secrets

    if name == RULES:
        return RuleAnnotator(view)
    if not name.startswith(SCHEME):
        shown = without_secrets(name)
        raise SettingsError(f"unknown annotator {shown!r}: must be {RULES} (for shapes) or openai:MODEL@BASE_URL")
    # An annotator writes no boxes, so any coordinates will do.
    policy = EndpointPolicy.connect(name, fallback_coordinates="pixels", seed=seed, **settings)
    return ServedAnnotator(policy, seed, view.wording.veason)


class RuleAnnotator:
    """Writes thinking from the state of the simulation, for samples of the benchmark `shapes`.

    view: defines the coordinates of the boxes in the thinking.
    """

    name = RULES
    boxes_in_thinking = True
    concurrency = 1
    max_reply_tokens = 0

    def __init__(self, view: View) -> None:
        self._limit_wh = box_limits(view)

    def submit(self, task: Task, template: int) -> Future[Reply]:
        draft = task.draft
        split, _, index = draft.video.rpartition("-")
        one = episode(split, int(index))
        observation = observe(one.clip, draft.indices, draft.labels, self._limit_wh)
        if draft.keyframe is not None:
            observation = _with_largest(observation, one.questions[0].targets, draft.indices.index(draft.keyframe))
        *summary, reason, place = sentences(trace(observation, one.questions[0], template).thinking)
        reply: Future[Reply] = Future()
        reply.set_result(Reply(write_steps(Steps(" ".join(summary), reason, place))))
        return reply


def _with_largest(observation: Observation, targets: tuple[int, ...], keyframe: int) -> Observation:
    """Returns the observation with the targets' areas in other frames lowered below those at the keyframe.

    Traces choose the frame with the largest targets, while a task's keyframe may be any of the five largest. Visible
    targets stay visible.
    """
    largest = observation.areas[keyframe, list(targets)]
    areas = observation.areas.copy()
    others = np.arange(len(areas)) != keyframe
    for target, area in zip(targets, largest, strict=True):
        areas[others, target] = np.minimum(areas[others, target], max(1, area - 1))
    return replace(observation, areas=areas)
