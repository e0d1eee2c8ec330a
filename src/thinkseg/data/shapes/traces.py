"""Reasoning traces of the shapes world, written from the state of the simulation.

A trace leads from a question and the frames in a policy's view to the keyframe and the boxes of the answer. Every
statement of a trace can be seen in those frames: boxes are in the units that the policy uses, objects are listed from
left to right as they appear, and the keyframe is the frame in which the targets have the largest area.

Events are described by one word per object and frame, the change since the previous frame in view: still, moves, darts,
grows, shrinks, new, gone. A trace states the criterion of the question first, and checks each object against it right
after its description ("hit? no"), so that no step depends on distant text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from thinkseg.data.shapes.questions import ShapesQuestion
from thinkseg.data.shapes.render import corners, full_area, label_map, visible_boxes
from thinkseg.data.shapes.simulation import Clip

MIN_VISIBLE_SHARE = 0.15  # an object with a smaller visible share of its area counts as hidden
MAX_STILL_DISTANCE = 0.04  # of an object that is "still", in sides of the frame
MIN_DART_DISTANCE = 0.28  # of an object that "darts", in sides of the frame
GROWTH_RATIO = 1.14  # minimum ratio of radii of an object that "grows" or "shrinks"


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The visible objects in the frames of a view: S frames of N objects.

    boxes: int64 (S, N, 4) in the policy's units. areas: (S, N) visible pixels, 0 where an object is hidden.
    order: visible objects, by the frame in which they appear and then from left to right.
    labels: the timestamps of the frames.
    changes: (S, N) words for the change since the previous frame: "away" if hidden in both, "" if visible in the first.
    """

    names: tuple[str, ...]
    boxes: np.ndarray
    areas: np.ndarray
    order: tuple[int, ...]
    labels: tuple[str, ...]
    changes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A reasoning trace with its answer.

    thinking: the text between the think tags. position: of the keyframe among the frames of the view, or None.
    boxes: float32 (N, 4) of the targets in the keyframe, in the units of the observation.
    """

    thinking: str
    position: int | None
    boxes: np.ndarray


def observe(clip: Clip, indices: Sequence[int], labels: Sequence[str], size_wh: tuple[int, int]) -> Observation:
    """Returns the visible objects of frames `indices` at size `size_wh`, whose pixels are the units of the boxes."""
    outlines = corners(clip, size_wh)
    visible = [visible_boxes(label_map(outlines, i, size_wh), clip.num_objects) for i in indices]
    boxes = np.stack([b for b, _ in visible]).astype(int)
    areas = np.stack([a for _, a in visible])
    min_areas = MIN_VISIBLE_SHARE * np.array([full_area(o) for o in outlines])
    areas = np.where(areas >= np.maximum(min_areas, 4), areas, 0)
    names = tuple(clip.name(i) for i in range(clip.num_objects))
    return Observation(names, boxes, areas, _order(boxes, areas > 0), tuple(labels), _changes(clip, indices, areas > 0))


def _order(boxes: np.ndarray, visible: np.ndarray) -> tuple[int, ...]:
    first = visible.argmax(0)
    appearances = [(first[i], boxes[first[i], i, 0], i) for i in range(visible.shape[1]) if visible[:, i].any()]
    return tuple(i for *_, i in sorted(appearances))


def _changes(clip: Clip, indices: Sequence[int], visible: np.ndarray) -> np.ndarray:
    """Returns the words of `Observation.changes`. visible: bool (S, N)."""
    at = list(indices)
    before = np.concatenate([np.zeros_like(visible[:1]), visible[:-1]])
    distance = np.zeros(visible.shape)
    growth = np.ones(visible.shape)
    distance[1:] = np.linalg.norm(np.diff(clip.xy[:, at], axis=1), axis=-1).T
    growth[1:] = (clip.radius[:, at[1:]] / clip.radius[:, at[:-1]]).T
    first = np.arange(len(at))[:, None] == 0
    cases = [
        (~visible & ~before, "away"),
        (~visible, "gone"),
        (first, ""),
        (~before, "new"),
        (growth > GROWTH_RATIO, "grows"),
        (growth < 1 / GROWTH_RATIO, "shrinks"),
        (distance <= MAX_STILL_DISTANCE, "still"),
        (distance < MIN_DART_DISTANCE, "moves"),
    ]
    return np.select([condition for condition, _ in cases], [word for _, word in cases], "darts")


def best_frame(observed: Observation, targets: Sequence[int]) -> int | None:
    """Returns the position of the frame with the most visible targets, and among those with their largest area."""
    areas = observed.areas[:, list(targets)]
    num_visible = (areas > 0).sum(1)
    if not num_visible.any():
        return None
    return int(np.where(num_visible == num_visible.max(), areas.sum(1), -1).argmax())


def first_frame(observed: Observation, targets: Sequence[int]) -> int | None:
    """Returns the position of the first frame in which any target is visible."""
    visible = (observed.areas[:, list(targets)] > 0).any(1)
    return int(visible.argmax()) if visible.any() else None


def trace(observed: Observation, question: ShapesQuestion, template: int, first: bool = False) -> Trace:
    """Returns the reasoning trace of a question, in one of `TEMPLATES` wordings.

    first: the keyframe is the first frame with a visible target, not the best one, and the trace states so.
    Targets that are hidden in all frames of the view make the answer "no target", because they cannot be boxed.
    """
    wording = TEMPLATES[template % len(TEMPLATES)]
    choose = first_frame if first else best_frame
    position = choose(observed, question.targets)
    criterion = criterion_of(question)
    sentences = [f"Sought: {criterion.word}."] if criterion else []
    sentences.append(wording.opening.format(seen=_evidence(observed, question.kind, criterion, position)))
    if position is None:
        sentences.append(wording.no_target)
        return Trace(" ".join(sentences), None, np.zeros((0, 4), np.float32))
    targets = [i for i in observed.order if i in question.targets and observed.areas[position, i] > 0]
    sentences.append(wording.target.format(names=" and ".join(observed.names[i] for i in targets)))
    keyframe = wording.first_keyframe if first else wording.keyframe
    places = "; ".join(boxed_name(observed, i, position) for i in targets)
    sentences.append(keyframe.format(label=observed.labels[position], places=places))
    return Trace(" ".join(sentences), position, observed.boxes[position, targets].astype(np.float32))


def _evidence(observed: Observation, kind: str, criterion: Criterion | None, keyframe: int | None) -> str:
    """Returns the description of the frames that answers a kind of question."""
    if kind in EVENT_KINDS:
        return object_tracks(observed, criterion)
    positions, order = _positions_to_list(observed, kind, keyframe), ORDERS.get(kind)
    return "; then ".join(
        list_frame(observed, position, order, criterion if position == positions[-1] else None)
        for position in positions
    )


def list_frame(
    observed: Observation, position: int, order: Order | None = None, criterion: Criterion | None = None
) -> str:
    """Lists the visible objects of one frame: "at 0.8 s red star [12, 40, 32, 64]; blue bar [...]".

    order: (default: the order of appearance), stated as in "at 0.8 s from the top ...".
    criterion: checked for each object: "red star [...]: bar? no; blue bar [...]: bar? it is blue bar".
    """
    visible = [i for i in observed.order if observed.areas[position, i]]
    if order:
        visible.sort(key=lambda i: order.key(observed.boxes[position, i]))
    phrase = f" {order.phrase}" if order and visible else ""
    items = [boxed_name(observed, i, position) + _check(observed, i, criterion) for i in visible]
    return f"at {observed.labels[position]} s{phrase} {'; '.join(items) or 'nothing'}"


def object_tracks(observed: Observation, criterion: Criterion | None = None) -> str:
    """Lists all objects where they appear, and then the track of each object from frame to frame.

    "at 0.8 s red star [12, 40, 32, 64]; blue bar [...]; then at 0.8 s red star [12, 40, 32, 64]; at 1.6 s red star
    [12, 40, 32, 64] still; at 2.4 s red star gone; at 0.8 s blue bar ...": the first list fixes the order of the
    tracks, and the states to compare are adjacent. The criterion is checked after each track: "red star gone: still?
    no; at 0.8 s ... blue bar [...] still: still? it is blue bar".
    """
    tracks = [_track(observed, i) + _check(observed, i, criterion) for i in observed.order]
    return f"{_appearances(observed)}; then {'; '.join(tracks)}" if tracks else "nothing"


def _check(observed: Observation, obj: int, criterion: Criterion | None) -> str:
    """Returns the check of one object against the criterion: ": hit? no"."""
    if not criterion:
        return ""
    answer = f"it is {observed.names[obj]}" if obj in criterion.targets else "no"
    return f": {criterion.word}? {answer}"


def _track(observed: Observation, obj: int) -> str:
    """Describes one object in each frame from its appearance to its disappearance."""
    positions = np.flatnonzero(observed.changes[:, obj] != "away").tolist()
    return "; ".join(f"at {observed.labels[p]} s {_state(observed, obj, p)}" for p in positions)


def _appearances(observed: Observation) -> str:
    """Lists each object where it appears: "at 0.8 s red star [12, 40, 32, 64]; at 2.4 s green ball [...] new"."""
    first = (observed.areas > 0).argmax(0)
    groups = groupby(observed.order, key=lambda i: int(first[i]))
    return "; ".join(
        f"at {observed.labels[position]} s {'; '.join(_state(observed, i, position) for i in objects)}"
        for position, objects in groups
    )


def _state(observed: Observation, obj: int, position: int) -> str:
    """Describes one object in one frame with its change: "red star [12, 40, 32, 64] still", "red star gone"."""
    visible = observed.areas[position, obj]
    name = boxed_name(observed, obj, position) if visible else observed.names[obj]
    return f"{name} {observed.changes[position, obj]}".rstrip()


def _positions_to_list(observed: Observation, kind: str, keyframe: int | None) -> list[int]:
    """Returns the positions of the frames that answer a kind of question, ascending.

    Without a keyframe, the frame with the most visible objects takes its place.
    """
    best = int((observed.areas > 0).sum(1).argmax()) if keyframe is None else keyframe
    last = len(observed.labels) - 1
    return sorted({best, last}) if kind in _LAST_FRAME_KINDS else [best]


def boxed_name(observed: Observation, obj: int, position: int) -> str:
    """Returns the name and the box of one object in one frame: "red star [12, 40, 32, 64]"."""
    return f"{observed.names[obj]} {observed.boxes[position, obj].tolist()}"


SINGLE_FRAME_KINDS = {"name", "color", "kind", "all_color", "all_kind"}
"""Kinds of questions that any frame with visible targets answers."""

EVENT_KINDS = {"fastest", "still", "grows", "shrinks", "leaves_first", "arrives", "pushed_by", "pushed", "was_hit"}
"""Kinds of questions about events, which need all frames."""

_LAST_FRAME_KINDS = {"leftmost", "rightmost", "highest", "lowest", "ends_left", "ends_right"}


class Criterion(NamedTuple):
    """The criterion of a question in one or two words, and the objects that meet it."""

    word: str
    targets: Sequence[int]


_CRITERIA = {
    "name": "{color} {shape}",
    "color": "{color}",
    "all_color": "{color}",
    "kind": "{shape}",
    "all_kind": "{shape}",
    "fastest": "darts",
    "still": "still",
    "grows": "grows",
    "shrinks": "shrinks",
    "leaves_first": "gone",
    "arrives": "new",
    "pushed_by": "pushed",
    "pushed": "hit",
    "was_hit": "hit",
    "ends_left": "left",
    "ends_right": "right",
}


def criterion_of(question: ShapesQuestion) -> Criterion | None:
    """Returns the criterion to check for each object; None for comparisons, which the order of the list answers."""
    word = _CRITERIA.get(question.kind)
    return Criterion(word.format(**dict(question.slots)), question.targets) if word else None


class Order(NamedTuple):
    """An order of objects in a list, ascending by `key` of their box (4,)."""

    phrase: str
    key: Callable[[np.ndarray], float]


_LEFT = Order("from the left", lambda box: box[0] + box[2])
_RIGHT = Order("from the right", lambda box: -box[0] - box[2])
_TOP = Order("from the top", lambda box: box[1] + box[3])
_BOTTOM = Order("from the bottom", lambda box: -box[1] - box[3])
_LARGEST = Order("from the largest", lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
_SMALLEST = Order("from the smallest", lambda box: (box[2] - box[0]) * (box[3] - box[1]))

ORDERS = {
    "leftmost": _LEFT,
    "ends_left": _LEFT,
    "rightmost": _RIGHT,
    "ends_right": _RIGHT,
    "highest": _TOP,
    "lowest": _BOTTOM,
    "largest": _LARGEST,
    "smallest": _SMALLEST,
}
"""The order of lists for a kind of question; it puts the target first."""


@dataclass(frozen=True, slots=True)
class TraceTemplate:
    """Sentences of a trace."""

    opening: str
    target: str
    no_target: str
    keyframe: str
    first_keyframe: str


TEMPLATES = (
    TraceTemplate(
        "I see {seen}.",
        "So it is {names}.",
        "Nothing here is what is asked for.",
        "It shows best at {label} s: {places}.",
        "It is first seen at {label} s: {places}.",
    ),
    TraceTemplate(
        "The frames show {seen}.",
        "The question says it is {names}.",
        "So nothing fits the question.",
        "The clearest view is at {label} s: {places}.",
        "The first view is at {label} s: {places}.",
    ),
    TraceTemplate(
        "Let me look: {seen}.",
        "That shows it is {names}.",
        "No object matches that.",
        "Most of it is seen at {label} s: {places}.",
        "It comes into sight at {label} s: {places}.",
    ),
)
