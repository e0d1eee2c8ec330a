"""Reasoning traces of the shapes world, written from the simulation's own state.

A question about a clip and the frames a policy is shown go in; what a careful observer would think comes out, with the
keyframe and boxes it leads to. Everything a trace states can be seen in those frames: positions are in the units the
policy writes boxes in, objects are named from left to right as they appear, and the keyframe is the shown frame in
which the targets cover most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.data.shapes.questions import Question
from thinkseg.data.shapes.render import corners, full_area, label_map, seen_boxes
from thinkseg.data.shapes.world import Clip

LEAST_SHARE = 0.15  # an object of which less is in sight counts as out of sight


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the shown frames show, S frames of N objects.

    boxes: int64 (S, N, 4) in the policy's units; areas: (S, N) visible pixels, 0 where an object is out of sight.
    order: objects from left to right as they first come into sight; those never seen are left out.
    labels: the timestamps shown.
    """

    names: tuple[str, ...]
    boxes: np.ndarray
    areas: np.ndarray
    order: tuple[int, ...]
    labels: tuple[str, ...]


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
    return Sight(names, boxes, areas, tuple(i for *_, i in sorted(arrivals)), tuple(labels))


def best_shown(sight: Sight, targets: Sequence[int]) -> int | None:
    """Position of the shown frame in which the targets cover most, all of them in sight if any frame has them so."""
    areas = sight.areas[:, list(targets)]
    together = (areas > 0).sum(1)
    if not together.any():
        return None
    return int(np.where(together == together.max(), areas.sum(1), -1).argmax())


def trace(sight: Sight, question: Question, template: int) -> Trace:
    """The reasoning to the answer of one question, in one of `TEMPLATES` wordings.

    Targets that are never in sight in the shown frames make it a question without a target: nothing can be boxed.
    """
    words = TEMPLATES[template % len(TEMPLATES)]
    shown = best_shown(sight, question.targets) if question.targets else None
    looks = [f"at {sight.labels[s]} s {listing(sight, s)}" for s in _looked_at(sight, question.kind, shown)]
    thought = [words.opening.format(seen="; then ".join(looks))]
    if shown is None:
        thought.append(words.nothing)
        return Trace(" ".join(thought), None, np.zeros((0, 4), np.float32))
    targets = [i for i in sight.order if i in question.targets and sight.areas[shown, i] > 0]
    thought.append(words.target.format(names=" and ".join(sight.names[i] for i in targets)))
    thought.append(words.keyframe.format(label=sight.labels[shown]))
    return Trace(" ".join(thought), shown, sight.boxes[shown, targets].astype(np.float32))


def listing(sight: Sight, shown: int) -> str:
    """Everything in one shown frame with its box: "red star [12, 40, 32, 64]; blue bar [50, 20, 90, 30]"."""
    return "; ".join(place(sight, i, shown) for i in sight.order if sight.areas[shown, i]) or "nothing"


def _looked_at(sight: Sight, kind: str, keyframe: int | None) -> list[int]:
    """Positions of the shown frames that have to be looked at to answer a kind of question, in order of time.

    Where no frame is best, the one in which most objects are in sight stands in.
    """
    best = int((sight.areas > 0).sum(1).argmax()) if keyframe is None else keyframe
    if kind in _AT_A_GLANCE:
        return [best]
    last = len(sight.labels) - 1
    return sorted({best, last}) if kind in _AT_THE_END else list(range(last + 1))


def way(sight: Sight, obj: int) -> str:
    """Where one object's middle is in each shown frame: "red star 0.0 s 12,40 0.8 s 30,41 1.6 s away"."""
    middles = (sight.boxes[:, obj, :2] + sight.boxes[:, obj, 2:]) // 2
    return _over_time(sight, obj, [f"{x},{y}" for x, y in middles])


def sizes(sight: Sight, obj: int) -> str:
    """How large one object's visible part is in each shown frame: "red star 0.0 s 20x24 0.8 s 26x28 1.6 s away"."""
    sides = sight.boxes[:, obj, 2:] - sight.boxes[:, obj, :2]
    return _over_time(sight, obj, [f"{w}x{h}" for w, h in sides])


def _over_time(sight: Sight, obj: int, notes: Sequence[str]) -> str:
    # Every note stands beside its timestamp, so that where to look is always said before what is seen there.
    seen = (note if area else "away" for note, area in zip(notes, sight.areas[:, obj], strict=True))
    return f"{sight.names[obj]} " + " ".join(f"{t} s {note}" for t, note in zip(sight.labels, seen, strict=True))


def place(sight: Sight, obj: int, shown: int) -> str:
    """One object's box in one shown frame: "red star [12, 40, 32, 64]"."""
    return f"{sight.names[obj]} {sight.boxes[shown, obj].tolist()}"


# Any other kind of question is about what happens, and takes all frames.
_AT_A_GLANCE = {"name", "color", "kind", "all_color", "all_kind", "largest", "smallest"}
_AT_THE_END = {"leftmost", "rightmost", "highest", "lowest", "ends_left", "ends_right"}


@dataclass(frozen=True, slots=True)
class Template:
    opening: str
    target: str
    nothing: str
    keyframe: str


TEMPLATES = (
    Template(
        "I see {seen}.",
        "What is asked for is {names}.",
        "Nothing here is what is asked for.",
        "It shows best at {label} s.",
    ),
    Template(
        "The frames show {seen}.",
        "So the question means {names}.",
        "So nothing fits the question.",
        "The clearest view is at {label} s.",
    ),
    Template(
        "Let me look: {seen}.",
        "That makes it {names}.",
        "No object matches that.",
        "Most of it is seen at {label} s.",
    ),
)
