"""Reasoning traces of the shapes world, written from the simulation's own state.

A question about a clip and the frames a policy is shown go in; what a careful observer would think comes out, with the
keyframe and boxes it leads to. Everything a trace states can be seen in those frames: positions are in the units the
policy writes boxes in, objects are named from left to right as they appear, and the keyframe is the shown frame in
which the targets cover most.

What happens is told by a word for each object and frame, what has become of it since the frame shown before: still,
moves, darts, grows, shrinks, new, gone. What is sought is put into a word right after the question, and asked of each
thing where it has just been seen ("hit? no"), so that nothing has to be told from what stands far away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from thinkseg.data.shapes.questions import Question
from thinkseg.data.shapes.render import corners, full_area, label_map, seen_boxes
from thinkseg.data.shapes.simulation import Clip

LEAST_SHARE = 0.15  # an object of which less is in sight counts as out of sight
STILL, FAR = 0.04, 0.28  # sides of the frame that an object which is still at most, and which darts at least, has gone
GROWN = 1.14  # how many times larger across an object is that grows, and how many times smaller one that shrinks


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the shown frames show, S frames of N objects.

    boxes: int64 (S, N, 4) in the policy's units; areas: (S, N) visible pixels, 0 where an object is out of sight.
    order: objects from left to right as they first come into sight; those never seen are left out.
    labels: the timestamps shown.
    changes: (S, N) words, what has become of an object since the frame before; "away" where it is in neither of the
    two, and empty in the first frame where it is in sight.
    """

    names: tuple[str, ...]
    boxes: np.ndarray
    areas: np.ndarray
    order: tuple[int, ...]
    labels: tuple[str, ...]
    changes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """thinking: the text between the think tags; shown: position of the keyframe among the shown frames, or None.

    boxes: (N, 4) of the targets there, in pixels of `size_wh` as given to `look`.
    """

    thinking: str
    shown: int | None
    boxes: np.ndarray


def look(clip: Clip, indices: Sequence[int], labels: Sequence[str], size_wh: tuple[int, int]) -> Sight:
    """What frames `indices` show at the size the policy sees them."""
    outlines = corners(clip, size_wh)
    seen = [seen_boxes(label_map(outlines, i, size_wh), clip.num_objects) for i in indices]
    boxes = np.stack([b for b, _ in seen]).astype(int)
    areas = np.stack([a for _, a in seen])
    least = LEAST_SHARE * np.array([full_area(o) for o in outlines])
    areas = np.where(areas >= np.maximum(least, 4), areas, 0)
    visible = areas > 0
    first = visible.argmax(0)
    arrivals = [(first[i], boxes[first[i], i, 0], i) for i in range(clip.num_objects) if visible[:, i].any()]
    names = tuple(clip.name(i) for i in range(clip.num_objects))
    changes = _changes(clip, indices, visible)
    return Sight(names, boxes, areas, tuple(i for *_, i in sorted(arrivals)), tuple(labels), changes)


def _changes(clip: Clip, indices: Sequence[int], visible: np.ndarray) -> np.ndarray:
    """The words of `Sight.changes`. visible: bool (S, N)."""
    at = list(indices)
    before = np.concatenate([np.zeros_like(visible[:1]), visible[:-1]])
    gone = np.zeros(visible.shape)
    grown = np.ones(visible.shape)
    gone[1:] = np.linalg.norm(np.diff(clip.xy[:, at], axis=1), axis=-1).T
    grown[1:] = (clip.radius[:, at[1:]] / clip.radius[:, at[:-1]]).T
    first = np.arange(len(at))[:, None] == 0
    words = [
        (~visible & ~before, "away"),
        (~visible, "gone"),
        (first, ""),
        (~before, "new"),
        (grown > GROWN, "grows"),
        (grown < 1 / GROWN, "shrinks"),
        (gone <= STILL, "still"),
        (gone < FAR, "moves"),
    ]
    return np.select([where for where, _ in words], [word for _, word in words], "darts")


def best_shown(sight: Sight, targets: Sequence[int]) -> int | None:
    """Position of the shown frame in which the targets cover most, all of them in sight if any frame has them so."""
    areas = sight.areas[:, list(targets)]
    together = (areas > 0).sum(1)
    if not together.any():
        return None
    return int(np.where(together == together.max(), areas.sum(1), -1).argmax())


def first_shown(sight: Sight, targets: Sequence[int]) -> int | None:
    """Position of the first shown frame in which any of the targets is in sight."""
    there = (sight.areas[:, list(targets)] > 0).any(1)
    return int(there.argmax()) if there.any() else None


def trace(sight: Sight, question: Question, template: int, first: bool = False) -> Trace:
    """The reasoning to the answer of one question, in one of `TEMPLATES` wordings.

    first: the keyframe is not the best frame but the first that shows any of the targets, and the trace says so.

    Targets that are never in sight in the shown frames make it a question without a target: nothing can be boxed.
    """
    words = TEMPLATES[template % len(TEMPLATES)]
    choose = first_shown if first else best_shown
    shown = choose(sight, question.targets)
    asked = sought(question)
    thought = [f"Sought: {asked.word}."] if asked else []
    if question.kind in HAPPENINGS:
        seen = courses(sight, asked)
    else:
        looks, order = _looked_at(sight, question.kind, shown), ORDERS.get(question.kind)
        seen = "; then ".join(frame(sight, s, order, asked if s == looks[-1] else None) for s in looks)
    thought.append(words.opening.format(seen=seen))
    if shown is None:
        thought.append(words.nothing)
        return Trace(" ".join(thought), None, np.zeros((0, 4), np.float32))
    targets = [i for i in sight.order if i in question.targets and sight.areas[shown, i] > 0]
    thought.append(words.target.format(names=" and ".join(sight.names[i] for i in targets)))
    places = "; ".join(place(sight, i, shown) for i in targets)
    keyframe = words.first if first else words.keyframe
    thought.append(keyframe.format(label=sight.labels[shown], places=places))
    return Trace(" ".join(thought), shown, sight.boxes[shown, targets].astype(np.float32))


def frame(sight: Sight, shown: int, order: Order | None = None, asked: Sought | None = None) -> str:
    """Everything in sight in one shown frame with its box: "at 0.8 s red star [12, 40, 32, 64]; blue bar [...]".

    Things are listed as they first came into sight, or in an order of place or size: "at 0.8 s from the top ...". What
    is asked is asked of each: "red star [...]: bar? no; blue bar [...]: bar? it is blue bar".
    """
    there = [i for i in sight.order if sight.areas[shown, i]]
    if order:
        there.sort(key=lambda i: order.key(sight.boxes[shown, i]))
    phrase = f" {order.phrase}" if order and there else ""
    items = [place(sight, i, shown) + _judged(sight, i, asked) for i in there]
    return f"at {sight.labels[shown]} s{phrase} {'; '.join(items) or 'nothing'}"


def courses(sight: Sight, asked: Sought | None = None) -> str:
    """What there is, then what becomes of it, thing after thing, from frame to frame.

    "at 0.8 s red star [12, 40, 32, 64]; blue bar [...]; then at 0.8 s red star [12, 40, 32, 64]; at 1.6 s red star
    [12, 40, 32, 64] still; at 2.4 s red star gone; at 0.8 s blue bar ...": the list says whom to follow, and in which
    order; what is to be compared stands side by side. What is asked is asked of each thing that was followed: "red star
    gone: still? no; at 0.8 s ... blue bar [...] still: still? it is blue bar".
    """
    told = [_track(sight, i) + _judged(sight, i, asked) for i in sight.order]
    return f"{_cast(sight)}; then {'; '.join(told)}" if told else "nothing"


def _judged(sight: Sight, obj: int, asked: Sought | None) -> str:
    """Whether one thing is what is asked for, said right after what was seen of it."""
    if not asked:
        return ""
    answer = f"it is {sight.names[obj]}" if obj in asked.targets else "no"
    return f": {asked.word}? {answer}"


def _track(sight: Sight, obj: int) -> str:
    """One thing from frame to frame, from where it is first seen to where it is gone."""
    there = np.flatnonzero(sight.changes[:, obj] != "away").tolist()
    return "; ".join(f"at {sight.labels[shown]} s {_noted(sight, obj, shown)}" for shown in there)


def _cast(sight: Sight) -> str:
    """Everything where it is first seen: "at 0.8 s red star [12, 40, 32, 64]; at 2.4 s green ball [...] new"."""
    first = (sight.areas > 0).argmax(0)
    scenes = []
    for shown, newcomers in groupby(sight.order, key=lambda i: int(first[i])):
        scenes.append(f"at {sight.labels[shown]} s {'; '.join(_noted(sight, i, shown) for i in newcomers)}")
    return "; ".join(scenes)


def _noted(sight: Sight, obj: int, shown: int) -> str:
    """One thing in one frame, and what has become of it: "red star [12, 40, 32, 64] still", "red star gone"."""
    seen = place(sight, obj, shown) if sight.areas[shown, obj] else sight.names[obj]
    return f"{seen} {sight.changes[shown, obj]}".rstrip()


def _looked_at(sight: Sight, kind: str, keyframe: int | None) -> list[int]:
    """Positions of the shown frames that have to be listed to answer a kind of question, in order of time.

    Where no frame is best, the one in which most objects are in sight stands in.
    """
    best = int((sight.areas > 0).sum(1).argmax()) if keyframe is None else keyframe
    last = len(sight.labels) - 1
    return sorted({best, last}) if kind in _AT_THE_END else [best]


def place(sight: Sight, obj: int, shown: int) -> str:
    """One object's box in one shown frame: "red star [12, 40, 32, 64]"."""
    return f"{sight.names[obj]} {sight.boxes[shown, obj].tolist()}"


BY_LOOKS = {"name", "color", "kind", "all_color", "all_kind"}
"""Kinds of questions that any frame answers in which the targets are in sight."""

HAPPENINGS = {"fastest", "still", "grows", "shrinks", "leaves_first", "arrives", "pushed_by", "pushed", "was_hit"}
"""Kinds of questions about what happens, which take all frames, one compared with the next."""

_AT_THE_END = {"leftmost", "rightmost", "highest", "lowest", "ends_left", "ends_right"}


class Sought(NamedTuple):
    """What a question asks for in a word or two, and the objects it is true of."""

    word: str
    targets: Sequence[int]


_SOUGHT = {
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


def sought(question: Question) -> Sought | None:
    """What can be asked of each thing in turn; nothing where things are compared, and their order says which it is."""
    word = _SOUGHT.get(question.kind)
    return Sought(word.format(**dict(question.words)), question.targets) if word else None


class Order(NamedTuple):
    """An order in which things can be listed. key: of a box (4,); the smallest comes first."""

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
"""The order in which a kind of question has things listed, so that what it asks for comes first."""


@dataclass(frozen=True, slots=True)
class Template:
    opening: str
    target: str
    nothing: str
    keyframe: str
    first: str


TEMPLATES = (
    Template(
        "I see {seen}.",
        "So it is {names}.",
        "Nothing here is what is asked for.",
        "It shows best at {label} s: {places}.",
        "It is first seen at {label} s: {places}.",
    ),
    Template(
        "The frames show {seen}.",
        "The question says it is {names}.",
        "So nothing fits the question.",
        "The clearest view is at {label} s: {places}.",
        "The first view is at {label} s: {places}.",
    ),
    Template(
        "Let me look: {seen}.",
        "That shows it is {names}.",
        "No object matches that.",
        "Most of it is seen at {label} s: {places}.",
        "It comes into sight at {label} s: {places}.",
    ),
)
