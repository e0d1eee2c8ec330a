"""Questions about a clip with their targets.

Only questions with a clear answer are generated: comparisons need a margin, targets must be visible for some time, and
a question without a target must clearly have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thinkseg.data.shapes.simulation import COLORS, SHAPES, Clip, extents
from thinkseg.data.shapes.wordings import CATEGORY

MARGIN = 1.5  # minimum ratio of the target's quantity to the next object's


@dataclass(frozen=True, slots=True)
class ShapesQuestion:
    """A question before it is worded.

    kind: a key of `wordings.WORDINGS`. slots: the values for the placeholders of its wordings.
    targets: indices of the target objects; () for no target.
    """

    kind: str
    slots: tuple[tuple[str, str], ...]
    targets: tuple[int, ...]

    @property
    def category(self) -> str:
        return CATEGORY[self.kind] if self.targets else "none"


def _question(kind: str, *targets: int, **slots: str) -> ShapesQuestion:
    return ShapesQuestion(kind, tuple(slots.items()), targets)


def clear_questions(clip: Clip, rng: np.random.Generator) -> list[ShapesQuestion]:
    """Returns all questions with a clear answer about this clip; `rng` selects the absent objects to ask for."""
    boxes = extents(clip)
    inside = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    found = [
        *_named(clip, rng),
        *_moving(clip, inside),
        *_timed(clip, inside),
        *_caused(clip, rng),
        *_compared(clip, boxes, inside),
        *_several(clip, boxes, inside, rng),
    ]
    lasting = inside.mean(1) >= 0.25
    return [q for q in found if all(lasting[t] for t in q.targets)]


def _named(clip: Clip, rng: np.random.Generator) -> Iterator[ShapesQuestion]:
    for obj in range(clip.num_objects):
        yield _question("name", obj, color=clip.colors[obj], shape=clip.shapes[obj])
        if clip.colors.count(clip.colors[obj]) == 1:
            yield _question("color", obj, color=clip.colors[obj])
        if clip.shapes.count(clip.shapes[obj]) == 1:
            yield _question("kind", obj, shape=clip.shapes[obj])
    names = {clip.name(i) for i in range(clip.num_objects)}
    # Half of the absent objects differ in one word from a present one.
    near = rng.random() < 0.5
    color = str(rng.choice(clip.colors if near else list(COLORS)))
    shape = str(rng.choice(clip.shapes if near and rng.random() < 0.5 else SHAPES))
    if f"{color} {shape}" not in names:
        yield _question("name", color=color, shape=shape)


def _speeds(clip: Clip) -> np.ndarray:
    """Path length of each object over the clip, in sides of the frame."""
    return np.linalg.norm(np.diff(clip.xy, axis=1), axis=-1).sum(1)


def _moving(clip: Clip, inside: np.ndarray) -> Iterator[ShapesQuestion]:
    speed = _speeds(clip)
    order = np.argsort(speed)
    steady = set(clip.roles) <= {"still", "drift"} and inside.all()
    if steady and speed[order[-1]] > 2.5 * speed[order[-2]] and speed[order[-1]] > 0.6:
        yield _question("fastest", int(order[-1]))
    if steady and speed[order[0]] < 0.01 and speed[order[1]] > 0.1:
        yield _question("still", int(order[0]))
    growth = clip.radius[:, -1] / clip.radius[:, 0]
    if inside.all():
        for kind, change in (("grows", growth), ("shrinks", 1 / growth)):
            first, second = np.argsort(change)[::-1][:2]
            if change[first] > MARGIN and change[second] < 1.05:
                yield _question(kind, int(first))
            elif change[first] < 1.02 and set(clip.roles) <= {"still", "drift"}:
                yield _question(kind)


def _timed(clip: Clip, inside: np.ndarray) -> Iterator[ShapesQuestion]:
    last_seen = np.where(inside.any(1), clip.num_frames - 1 - inside[:, ::-1].argmax(1), -1)
    gone = np.flatnonzero(~inside[:, -1])
    if not len(gone):
        yield _question("leaves_first")
    else:
        order = gone[np.argsort(last_seen[gone])]
        gap = (last_seen[order[1]] - last_seen[order[0]]) / clip.num_frames if len(gone) > 1 else 1.0
        if gap > 0.34 and inside[order[0], 0]:
            yield _question("leaves_first", int(order[0]))
    late = np.flatnonzero(~inside[:, 0])
    if not len(late):
        yield _question("arrives")
    elif len(late) == 1 and inside[late[0], -1]:
        yield _question("arrives", int(late[0]))


def _caused(clip: Clip, rng: np.random.Generator) -> Iterator[ShapesQuestion]:
    if clip.hit:
        striker, struck, _ = clip.hit
        yield _question("pushed_by", striker, color=clip.colors[struck], shape=clip.shapes[struck])
        yield _question("pushed", struck, color=clip.colors[striker], shape=clip.shapes[striker])
        yield _question("was_hit", struck)
    resting = [i for i, role in enumerate(clip.roles) if role == "still"]
    if resting:
        obj = int(rng.choice(resting))
        yield _question("pushed_by", color=clip.colors[obj], shape=clip.shapes[obj])


def _compared(clip: Clip, boxes: np.ndarray, inside: np.ndarray) -> Iterator[ShapesQuestion]:
    areas = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).max(1)
    order = np.argsort(areas)
    if areas[order[-1]] > MARGIN * areas[order[-2]]:
        yield _question("largest", int(order[-1]))
    if areas[order[1]] > MARGIN * areas[order[0]] and inside[order[0]].mean() > 0.6:
        yield _question("smallest", int(order[0]))
    center = np.where(inside[:, -1, None], (boxes[:, -1, :2] + boxes[:, -1, 2:]) / 2, np.nan)
    for kind, axis, sign in (("leftmost", 0, 1), ("rightmost", 0, -1), ("highest", 1, 1), ("lowest", 1, -1)):
        along = np.sort(sign * center[:, axis])
        if np.isfinite(along[:2]).all() and along[1] - along[0] > 0.12:
            yield _question(kind, int(np.nanargmin(sign * center[:, axis])))


def _several(clip: Clip, boxes: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> Iterator[ShapesQuestion]:
    for values, kind, word in ((clip.colors, "all_color", "color"), (clip.shapes, "all_kind", "shape")):
        for value in sorted(set(values)):
            members = [i for i, v in enumerate(values) if v == value]
            if len(members) > 1:
                yield _question(kind, *members, **{word: value})
    absent = [k for k in SHAPES if k not in clip.shapes]
    if absent:
        yield _question("all_kind", shape=str(rng.choice(absent)))
    middle = (boxes[:, -1, 0] + boxes[:, -1, 2]) / 2
    clear = (np.abs(middle - 0.5) > 0.08) | ~inside[:, -1]
    if clear.all():
        for kind, chosen in (("ends_left", middle < 0.5), ("ends_right", middle > 0.5)):
            ending = np.flatnonzero(chosen & inside[:, -1])
            if 1 <= len(ending) <= 3:
                yield _question(kind, *map(int, ending))
