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
class Watched:
    """A clip, as somebody with a ruler would see it."""

    clip: Clip

    @cached_property
    def boxes(self) -> np.ndarray:
        """As if nothing were hidden: (N, T, 4) in whole pixels; zeros where an object is outside the frame."""
        found = np.zeros((self.clip.num_objects, self.clip.num_frames, 4), int)
        for obj, outline in enumerate(corners(self.clip, (SIDE, SIDE))):
            for frame in range(self.clip.num_frames):
                x, y, width, height = cv2.boundingRect(label_map([outline], frame, (SIDE, SIDE)))
                found[obj, frame] = (x, y, x + width, y + height) if width else 0
        return found

    @cached_property
    def there(self) -> np.ndarray:
        """Whether any of an object is inside the frame: bool (N, T)."""
        return self.boxes.any(-1)

    @cached_property
    def way(self) -> np.ndarray:
        """How far each object goes, in pixels."""
        return np.hypot(*np.diff(SIDE * self.clip.xy, axis=1).transpose(2, 0, 1)).sum(1)

    @cached_property
    def largest_box(self) -> np.ndarray:
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        return sides.prod(-1).max(1)

    @property
    def last_middle(self) -> np.ndarray:
        """(N, 2) in pixels, in the last frame."""
        return (self.boxes[:, -1, :2] + self.boxes[:, -1, 2:]) / 2

    def named(self, **words: str) -> set[int]:
        """Objects that fit all the words."""
        tables = {"color": self.clip.colors, "shape": self.clip.shapes}
        return {i for i in range(self.clip.num_objects) if all(tables[k][i] == v for k, v in words.items())}

    def others(self, obj: int) -> list[int]:
        return [i for i in range(self.clip.num_objects) if i != obj]


def by_words(seen: Watched, asked: ShapesQuestion) -> bool:
    """Color and shape, and nothing else, say who is meant."""
    return set(asked.targets) == seen.named(**dict(asked.slots))


def one_by_words(seen: Watched, asked: ShapesQuestion) -> bool:
    return len(asked.targets) <= 1 and by_words(seen, asked)


def fastest(seen: Watched, asked: ShapesQuestion) -> bool:
    (obj,) = asked.targets
    return seen.there.all() and all(seen.way[obj] > 2 * seen.way[other] for other in seen.others(obj))


def still(seen: Watched, asked: ShapesQuestion) -> bool:
    (obj,) = asked.targets
    return seen.way[obj] < 1 and all(seen.way[other] > 0.05 * SIDE for other in seen.others(obj))


def resized(direction: int) -> Callable[[Watched, ShapesQuestion], bool]:
    def holds(seen: Watched, asked: ShapesQuestion) -> bool:
        change = np.log(seen.clip.radius[:, -1] / seen.clip.radius[:, 0]) * direction
        if not asked.targets:
            return bool((change < 0.05).all())
        (obj,) = asked.targets
        return change[obj] > 0.4 and all(change[other] < 0.05 for other in seen.others(obj))

    return holds


def leaves_first(seen: Watched, asked: ShapesQuestion) -> bool:
    if not asked.targets:
        # What is there by less than a pixel at the very end is as good as gone, but leaves no time to say so.
        return bool(seen.there[:, -2].all())
    (obj,) = asked.targets
    last = [np.flatnonzero(there).max(initial=-1) for there in seen.there]
    leavers = [i for i in seen.others(obj) if not seen.there[i, -1]]
    return (
        seen.there[obj, 0]
        and not seen.there[obj, -1]
        and all(last[i] - last[obj] > 0.1 * seen.clip.num_frames for i in leavers)
    )


def arrives(seen: Watched, asked: ShapesQuestion) -> bool:
    if not asked.targets:
        return bool(seen.there[:, 1].all())
    (obj,) = asked.targets
    return not seen.there[obj, 0] and seen.there[obj, -1] and seen.there[seen.others(obj), 0].all()


def pushed_by(seen: Watched, asked: ShapesQuestion) -> bool:
    (named,) = seen.named(**dict(asked.slots))
    if not asked.targets:
        return seen.way[named] < 1
    return asked.targets == (touching(seen, named),) and moves_after_rest(seen, named)


def pushed(seen: Watched, asked: ShapesQuestion) -> bool:
    (named,), (obj,) = seen.named(**dict(asked.slots)), asked.targets
    return touching(seen, obj) == named and moves_after_rest(seen, obj)


def was_hit(seen: Watched, asked: ShapesQuestion) -> bool:
    (obj,) = asked.targets
    return moves_after_rest(seen, obj) and not any(moves_after_rest(seen, other) for other in seen.others(obj))


def moves_after_rest(seen: Watched, obj: int) -> bool:
    steps = np.hypot(*np.diff(SIDE * seen.clip.xy[obj], axis=0).T)
    moving = np.flatnonzero(steps > 1e-6)
    return len(moving) > 0 and moving[0] > 3 and bool((steps[moving[0] + 1 :] > 1e-6).all())


def touching(seen: Watched, struck: int) -> int | None:
    """Who slows down most just as an object begins to move."""
    steps = np.hypot(*np.diff(SIDE * seen.clip.xy, axis=1).transpose(2, 0, 1))
    starts = np.flatnonzero(steps[struck] > 1e-6)
    if not len(starts):
        return None
    before, after = steps[:, starts[0] - 2], steps[:, min(starts[0] + 1, steps.shape[1] - 1)]
    return int((before - after).argmax())


def of_size(sign: int) -> Callable[[Watched, ShapesQuestion], bool]:
    def holds(seen: Watched, asked: ShapesQuestion) -> bool:
        (obj,) = asked.targets
        size = seen.largest_box.astype(float) ** sign
        return all(size[obj] > 1.3 * size[other] for other in seen.others(obj))

    return holds


def at_the_end(axis: int, sign: int) -> Callable[[Watched, ShapesQuestion], bool]:
    def holds(seen: Watched, asked: ShapesQuestion) -> bool:
        (obj,) = asked.targets
        along = sign * seen.last_middle[:, axis]
        rest = [other for other in seen.others(obj) if seen.there[other, -1]]
        return seen.there[obj, -1] and all(along[other] - along[obj] > 0.1 * SIDE for other in rest)

    return holds


def on_side(sign: int) -> Callable[[Watched, ShapesQuestion], bool]:
    def holds(seen: Watched, asked: ShapesQuestion) -> bool:
        offset = sign * (seen.last_middle[:, 0] - SIDE / 2)
        there = [i for i in range(seen.clip.num_objects) if seen.there[i, -1]]
        clear = all(abs(offset[i]) > 0.06 * SIDE for i in there)
        return clear and set(asked.targets) == {i for i in there if offset[i] > 0}

    return holds


HOLDS: dict[str, Callable[[Watched, ShapesQuestion], bool]] = {
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
def asked() -> list[tuple[Watched, ShapesQuestion]]:
    """All questions about clips of every scenario, with training's paths and with unseen ones."""
    found = []
    for number, scenario in enumerate(sorted({s for group in SCENARIOS.values() for s in group})):
        for index in range(CLIPS_A_SCENARIO):
            rng = np.random.default_rng([number, index])
            clip = simulate(rng, scenario, UNSEEN_PATHS if index % 3 == 0 else TRAINING_PATHS)
            seen = Watched(clip)
            found += [(seen, question) for question in clear_questions(clip, rng)]
    return found


def test_checks_cover_all_kinds() -> None:
    assert HOLDS.keys() == WORDINGS.keys()


@pytest.mark.parametrize("kind", HOLDS)
def test_clear_questions_targets_pass_independent_check(asked: list[tuple[Watched, ShapesQuestion]], kind: str) -> None:
    cases = [(seen, question) for seen, question in asked if question.kind == kind]
    assert len([question for _, question in cases if question.targets]) >= 8
    wrong = [(question, seen.clip.roles) for seen, question in cases if not HOLDS[kind](seen, question)]
    assert not wrong


def test_clear_questions_without_target_have_several_kinds(asked: list[tuple[Watched, ShapesQuestion]]) -> None:
    empty = Counter(question.kind for _, question in asked if not question.targets)
    assert empty.keys() >= {"name", "all_kind", "pushed_by", "arrives", "leaves_first", "grows", "shrinks"}


def test_category_follows_kind_or_is_none(asked: list[tuple[Watched, ShapesQuestion]]) -> None:
    for _, question in asked:
        assert question.category == (CATEGORY[question.kind] if question.targets else "none")


def test_clear_questions_targets_are_visible_for_some_time(asked: list[tuple[Watched, ShapesQuestion]]) -> None:
    for seen, question in asked:
        assert all(seen.there[obj].mean() > 0.2 for obj in question.targets)


def test_clear_questions_are_unique(asked: list[tuple[Watched, ShapesQuestion]]) -> None:
    by_clip: dict[int, list[ShapesQuestion]] = {}
    for seen, question in asked:
        by_clip.setdefault(id(seen.clip), []).append(question)
    assert all(len(set(found)) == len(found) for found in by_clip.values())


def test_episode_targets_are_sufficiently_visible() -> None:
    """After occlusion, all targets at once, by more than half of what there is of each."""
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
    """A red ball, a red star and a blue star that rest side by side."""
    xy = np.repeat(np.array([[x, 0.5] for x in xs])[:, None], 30, 1)
    radius = np.repeat(np.array(radii)[:, None], 30, 1)
    return Clip(
        ("red", "red", "blue"), ("ball", "star", "star"), ("still",) * 3, xy, radius, np.zeros((3, 30)), None, 0
    )


def answers(clip: Clip) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Targets by kind and words."""
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
