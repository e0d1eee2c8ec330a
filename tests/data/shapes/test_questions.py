"""Every question is checked against the clip with independent code."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import pytest

from thinkseg.data.shapes.episodes import SCENARIOS, episode
from thinkseg.data.shapes.questions import ShapesQuestion, clear_questions
from thinkseg.data.shapes.render import corners, label_map
from thinkseg.data.shapes.simulation import TRAINING_PATHS, UNSEEN_PATHS, Clip, simulate
from thinkseg.data.shapes.wordings import CATEGORY, WORDINGS

SIDE = 80
CLIPS_A_SCENARIO = 30


@dataclass(frozen=True)
class MeasuredClip:
    """Measurements of a clip, independent of the tested code."""

    clip: Clip

    @cached_property
    def boxes(self) -> np.ndarray:
        """Boxes without occlusion: (N, T, 4) in integer pixels; zeros for objects outside the frame."""
        found = np.zeros((self.clip.num_objects, self.clip.num_frames, 4), int)
        for obj, outline in enumerate(corners(self.clip, (SIDE, SIDE))):
            for frame in range(self.clip.num_frames):
                x, y, width, height = cv2.boundingRect(label_map([outline], frame, (SIDE, SIDE)))
                found[obj, frame] = (x, y, x + width, y + height) if width else 0
        return found

    @cached_property
    def inside(self) -> np.ndarray:
        """Whether any part of an object is inside the frame: bool (N, T)."""
        return self.boxes.any(-1)

    @cached_property
    def path_length(self) -> np.ndarray:
        """Path length of each object, in pixels."""
        return np.hypot(*np.diff(SIDE * self.clip.xy, axis=1).transpose(2, 0, 1)).sum(1)

    @cached_property
    def largest_box(self) -> np.ndarray:
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        return sides.prod(-1).max(1)

    @property
    def last_center(self) -> np.ndarray:
        """(N, 2) in pixels, in the last frame."""
        return (self.boxes[:, -1, :2] + self.boxes[:, -1, 2:]) / 2

    def named(self, **words: str) -> set[int]:
        """Objects with all of these attributes."""
        tables = {"color": self.clip.colors, "shape": self.clip.shapes}
        return {i for i in range(self.clip.num_objects) if all(tables[k][i] == v for k, v in words.items())}

    def others(self, obj: int) -> list[int]:
        return [i for i in range(self.clip.num_objects) if i != obj]


def by_words(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    """Whether color and shape alone determine the targets."""
    return set(question.targets) == measured.named(**dict(question.slots))


def one_by_words(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    return len(question.targets) <= 1 and by_words(measured, question)


def fastest(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    (obj,) = question.targets
    return measured.inside.all() and all(
        measured.path_length[obj] > 2 * measured.path_length[other] for other in measured.others(obj)
    )


def still(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    (obj,) = question.targets
    return measured.path_length[obj] < 1 and all(
        measured.path_length[other] > 0.05 * SIDE for other in measured.others(obj)
    )


def resized(direction: int) -> Callable[[MeasuredClip, ShapesQuestion], bool]:
    def holds(measured: MeasuredClip, question: ShapesQuestion) -> bool:
        change = np.log(measured.clip.radius[:, -1] / measured.clip.radius[:, 0]) * direction
        if not question.targets:
            return bool((change < 0.05).all())
        (obj,) = question.targets
        return change[obj] > 0.4 and all(change[other] < 0.05 for other in measured.others(obj))

    return holds


def leaves_first(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    if not question.targets:
        # An object visible by less than a pixel in the last frame counts as gone.
        return bool(measured.inside[:, -2].all())
    (obj,) = question.targets
    last = [np.flatnonzero(inside).max(initial=-1) for inside in measured.inside]
    leavers = [i for i in measured.others(obj) if not measured.inside[i, -1]]
    return (
        measured.inside[obj, 0]
        and not measured.inside[obj, -1]
        and all(last[i] - last[obj] > 0.1 * measured.clip.num_frames for i in leavers)
    )


def arrives(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    if not question.targets:
        return bool(measured.inside[:, 1].all())
    (obj,) = question.targets
    return not measured.inside[obj, 0] and measured.inside[obj, -1] and measured.inside[measured.others(obj), 0].all()


def pushed_by(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    (named,) = measured.named(**dict(question.slots))
    if not question.targets:
        return measured.path_length[named] < 1
    return question.targets == (touching(measured, named),) and moves_after_rest(measured, named)


def pushed(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    (named,), (obj,) = measured.named(**dict(question.slots)), question.targets
    return touching(measured, obj) == named and moves_after_rest(measured, obj)


def was_hit(measured: MeasuredClip, question: ShapesQuestion) -> bool:
    (obj,) = question.targets
    return moves_after_rest(measured, obj) and not any(
        moves_after_rest(measured, other) for other in measured.others(obj)
    )


def moves_after_rest(measured: MeasuredClip, obj: int) -> bool:
    steps = np.hypot(*np.diff(SIDE * measured.clip.xy[obj], axis=0).T)
    moving = np.flatnonzero(steps > 1e-6)
    return len(moving) > 0 and moving[0] > 3 and bool((steps[moving[0] + 1 :] > 1e-6).all())


def touching(measured: MeasuredClip, struck: int) -> int | None:
    """The object that slows down most when another begins to move."""
    steps = np.hypot(*np.diff(SIDE * measured.clip.xy, axis=1).transpose(2, 0, 1))
    starts = np.flatnonzero(steps[struck] > 1e-6)
    if not len(starts):
        return None
    before, after = steps[:, starts[0] - 2], steps[:, min(starts[0] + 1, steps.shape[1] - 1)]
    return int((before - after).argmax())


def of_size(sign: int) -> Callable[[MeasuredClip, ShapesQuestion], bool]:
    def holds(measured: MeasuredClip, question: ShapesQuestion) -> bool:
        (obj,) = question.targets
        size = measured.largest_box.astype(float) ** sign
        return all(size[obj] > 1.3 * size[other] for other in measured.others(obj))

    return holds


def at_the_end(axis: int, sign: int) -> Callable[[MeasuredClip, ShapesQuestion], bool]:
    def holds(measured: MeasuredClip, question: ShapesQuestion) -> bool:
        (obj,) = question.targets
        along = sign * measured.last_center[:, axis]
        rest = [other for other in measured.others(obj) if measured.inside[other, -1]]
        return measured.inside[obj, -1] and all(along[other] - along[obj] > 0.1 * SIDE for other in rest)

    return holds


def on_side(sign: int) -> Callable[[MeasuredClip, ShapesQuestion], bool]:
    def holds(measured: MeasuredClip, question: ShapesQuestion) -> bool:
        offset = sign * (measured.last_center[:, 0] - SIDE / 2)
        inside = [i for i in range(measured.clip.num_objects) if measured.inside[i, -1]]
        clear = all(abs(offset[i]) > 0.06 * SIDE for i in inside)
        return clear and set(question.targets) == {i for i in inside if offset[i] > 0}

    return holds


HOLDS: dict[str, Callable[[MeasuredClip, ShapesQuestion], bool]] = {
    "name": one_by_words,
    "color": one_by_words,
    "kind": one_by_words,
    "all_color": by_words,
    "all_kind": by_words,
    "fastest": fastest,
    "still": still,
    "grows": resized(1),
    "shrinks": resized(-1),
    "leaves_first": leaves_first,
    "arrives": arrives,
    "pushed_by": pushed_by,
    "pushed": pushed,
    "was_hit": was_hit,
    "largest": of_size(1),
    "smallest": of_size(-1),
    "leftmost": at_the_end(0, 1),
    "rightmost": at_the_end(0, -1),
    "highest": at_the_end(1, 1),
    "lowest": at_the_end(1, -1),
    "ends_left": on_side(-1),
    "ends_right": on_side(1),
}


@pytest.fixture(scope="module")
def cases() -> list[tuple[MeasuredClip, ShapesQuestion]]:
    """All questions about clips of every scenario, with paths of training and unseen ones."""
    found = []
    for number, scenario in enumerate(sorted({s for group in SCENARIOS.values() for s in group})):
        for index in range(CLIPS_A_SCENARIO):
            rng = np.random.default_rng([number, index])
            clip = simulate(rng, scenario, UNSEEN_PATHS if index % 3 == 0 else TRAINING_PATHS)
            measured = MeasuredClip(clip)
            found += [(measured, question) for question in clear_questions(clip, rng)]
    return found


def test_checks_cover_all_kinds() -> None:
    assert HOLDS.keys() == WORDINGS.keys()


@pytest.mark.parametrize("kind", HOLDS)
def test_clear_questions_targets_pass_independent_check(
    cases: list[tuple[MeasuredClip, ShapesQuestion]], kind: str
) -> None:
    of_kind = [(measured, question) for measured, question in cases if question.kind == kind]
    assert len([question for _, question in of_kind if question.targets]) >= 8
    wrong = [(question, measured.clip.roles) for measured, question in of_kind if not HOLDS[kind](measured, question)]
    assert not wrong


def test_clear_questions_without_target_have_several_kinds(cases: list[tuple[MeasuredClip, ShapesQuestion]]) -> None:
    empty = Counter(question.kind for _, question in cases if not question.targets)
    assert empty.keys() >= {"name", "all_kind", "pushed_by", "arrives", "leaves_first", "grows", "shrinks"}


def test_category_follows_kind_or_is_none(cases: list[tuple[MeasuredClip, ShapesQuestion]]) -> None:
    for _, question in cases:
        assert question.category == (CATEGORY[question.kind] if question.targets else "none")


def test_clear_questions_targets_are_visible_for_some_time(cases: list[tuple[MeasuredClip, ShapesQuestion]]) -> None:
    for measured, question in cases:
        assert all(measured.inside[obj].mean() > 0.2 for obj in question.targets)


def test_clear_questions_are_unique(cases: list[tuple[MeasuredClip, ShapesQuestion]]) -> None:
    by_clip: dict[int, list[ShapesQuestion]] = {}
    for measured, question in cases:
        by_clip.setdefault(id(measured.clip), []).append(question)
    assert all(len(set(found)) == len(found) for found in by_clip.values())


def test_episode_targets_are_sufficiently_visible() -> None:
    """Some frame shows more than half of each target."""
    for index in range(30):
        one = episode("train", index, 6)
        outlines = corners(one.clip, (SIDE, SIDE))
        maps = [label_map(outlines, frame, (SIDE, SIDE)) for frame in range(one.clip.num_frames)]
        whole = [
            max((label_map([outline], frame, (SIDE, SIDE)) > 0).sum() for frame in range(one.clip.num_frames))
            for outline in outlines
        ]
        for question in one.questions:
            shares = [[(m == obj + 1).sum() / whole[obj] for obj in question.targets] for m in maps]
            assert not question.targets or max(min(share) for share in shares) > 0.5


def row(*xs: float, radii: tuple[float, ...] = (0.1, 0.1, 0.1)) -> Clip:
    """A red ball, a red star and a blue star at rest next to each other."""
    xy = np.repeat(np.array([[x, 0.5] for x in xs])[:, None], 30, 1)
    radius = np.repeat(np.array(radii)[:, None], 30, 1)
    return Clip(
        ("red", "red", "blue"), ("ball", "star", "star"), ("still",) * 3, xy, radius, np.zeros((3, 30)), None, 0
    )


def answers(clip: Clip) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Targets by kind and slots."""
    return {
        (q.kind, *(word for _, word in q.slots)): q.targets for q in clear_questions(clip, np.random.default_rng(0))
    }


def test_clear_questions_manual_clip() -> None:
    found = answers(row(0.2, 0.7, 0.9))
    assert found["name", "red", "star"] == (1,)
    assert found["color", "blue"] == (2,)
    assert ("color", "red") not in found
    assert found["kind", "ball"] == (0,)
    assert ("kind", "star") not in found
    assert found["all_color", "red"] == (0, 1)
    assert found["all_kind", "star"] == (1, 2)
    assert found["ends_left",] == (0,)
    assert found["ends_right",] == (1, 2)
    assert found["leftmost",] == (0,)
    assert found["rightmost",] == (2,)
    assert ("highest",) not in found
    assert found["leaves_first",] == found["arrives",] == ()


def test_clear_questions_small_margin_is_skipped() -> None:
    assert ("leftmost",) not in answers(row(0.2, 0.3, 0.9))
    assert ("ends_left",) not in answers(row(0.2, 0.45, 0.9))
    assert ("largest",) not in answers(row(0.2, 0.5, 0.9, radii=(0.1, 0.1, 0.11)))
    assert answers(row(0.2, 0.5, 0.8, radii=(0.1, 0.1, 0.2)))["largest",] == (2,)


def test_clear_questions_rarely_visible_target_is_skipped() -> None:
    clip = row(0.2, 0.7, 0.9)
    xy = clip.xy.copy()
    xy[0, 4:] = 5.0
    assert ("name", "red", "ball") not in answers(replace(clip, xy=xy))
    assert ("all_color", "red") not in answers(replace(clip, xy=xy))
