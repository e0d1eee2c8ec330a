"""Reasoning traces of the shapes world, written from the simulation's own state.

A question about a clip and the frames a policy is shown go in; what a careful observer would think comes out, with the
keyframe and boxes it leads to. Everything a trace states can be seen in those frames: positions are in the units the
policy writes boxes in, objects are named from left to right as they appear, and the keyframe is the shown frame in
which the targets cover most.

What happens is told by a word for each object and frame, what has become of it since the frame shown before: still,
moves, darts, grows, shrinks, new, gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from thinkseg.data.shapes.questions import Question
from thinkseg.data.shapes.render import corners, full_area, label_map, seen_boxes
from thinkseg.data.shapes.world import Clip

LEAST_SHARE = 0.15  # an object of which less is in sight counts as out of sight
STILL, FAR = 0.025, 0.2  # sides of the frame that an object which is still at most, and which darts at least, has gone
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
    order = ORDERS.get(question.kind)
    looks = [frame(sight, s, order) for s in _looked_at(sight, question.kind, shown)]
    thought = [words.opening.format(seen="; then ".join(looks))]
    if question.kind in HAPPENINGS:
        thought.append(f"Over time: {'; '.join(course(sight, i) for i in sight.order)}.")
    if shown is None:
        thought.append(words.nothing)
        return Trace(" ".join(thought), None, np.zeros((0, 4), np.float32))
    targets = [i for i in sight.order if i in question.targets and sight.areas[shown, i] > 0]
    thought.append(words.target.format(names=" and ".join(sight.names[i] for i in targets)))
    places = "; ".join(place(sight, i, shown) for i in targets)
    keyframe = words.first if first else words.keyframe
    thought.append(keyframe.format(label=sight.labels[shown], places=places))
    return Trace(" ".join(thought), shown, sight.boxes[shown, targets].astype(np.float32))


def frame(sight: Sight, shown: int, order: Order | None = None) -> str:
    """Everything in one shown frame with its box, and what became of it since the frame before.

    "at 0.8 s red star [12, 40, 32, 64] moves; blue bar [50, 20, 90, 30] still; green ball gone" lists things as they
    first came into sight. In an order of place or size only what is in sight is listed: "at 0.8 s from the top ...".
    """
    there = [i for i in sight.order if sight.areas[shown, i]]
    told = [i for i in sight.order if sight.changes[shown, i] != "away"]
    if order:
        told = sorted(there, key=lambda i: order.key(sight.boxes[shown, i]))
    seen = (place(sight, i, shown) if i in there else sight.names[i] for i in told)
    items = (f"{item} {sight.changes[shown, i]}".rstrip() for item, i in zip(seen, told, strict=True))
    phrase = f" {order.phrase}" if order and told else ""
    return f"at {sight.labels[shown]} s{phrase} {'; '.join(items) or 'nothing'}"


def course(sight: Sight, obj: int) -> str:
    """What becomes of one object from each shown frame to the next: "red star still, moves, gone"."""
    return f"{sight.names[obj]} {', '.join(sight.changes[1:, obj])}"


def _looked_at(sight: Sight, kind: str, keyframe: int | None) -> list[int]:
    """Positions of the shown frames that have to be looked at to answer a kind of question, in order of time.

    Where no frame is best, the one in which most objects are in sight stands in.
    """
    best = int((sight.areas > 0).sum(1).argmax()) if keyframe is None else keyframe
    last = len(sight.labels) - 1
    if kind in HAPPENINGS:
        return list(range(last + 1))
    return sorted({best, last}) if kind in _AT_THE_END else [best]


def place(sight: Sight, obj: int, shown: int) -> str:
    """One object's box in one shown frame: "red star [12, 40, 32, 64]"."""
    return f"{sight.names[obj]} {sight.boxes[shown, obj].tolist()}"


BY_LOOKS = {"name", "color", "kind", "all_color", "all_kind"}
"""Kinds of questions that any frame answers in which the targets are in sight."""

HAPPENINGS = {"fastest", "still", "grows", "shrinks", "leaves_first", "arrives", "pushed_by", "pushed", "was_hit"}
"""Kinds of questions about what happens, which take all frames."""

_AT_THE_END = {"leftmost", "rightmost", "highest", "lowest", "ends_left", "ends_right"}


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
        "What is asked for is {names}.",
        "Nothing here is what is asked for.",
        "It shows best at {label} s: {places}.",
        "It is first seen at {label} s: {places}.",
    ),
    Template(
        "The frames show {seen}.",
        "So the question means {names}.",
        "So nothing fits the question.",
        "The clearest view is at {label} s: {places}.",
        "The first view is at {label} s: {places}.",
    ),
    Template(
        "Let me look: {seen}.",
        "That makes it {names}.",
        "No object matches that.",
        "Most of it is seen at {label} s: {places}.",
        "It comes into sight at {label} s: {places}.",
    ),
)
