import numpy as np
import pytest

from thinkseg.chains.parse import parse_answer, write_answer
from thinkseg.chains.show import describe
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.rewards import REWARDS, keyframe_area, matched_boxes
from thinkseg.types import Answer, VideoSample, View

SHOWN = (0, 1, 3)
NONE = Answer("", None, np.zeros((0, 4), np.float32))


def choose(keyframe, *boxes):
    return Answer("", keyframe, np.array(boxes, np.float32).reshape(-1, 4))


@pytest.fixture
def two(film):
    """Two targets in four 4x4 frames; areas 2, 4, 8 and 0 when merged."""
    masks = np.zeros((2, 4, 4, 4), bool)
    masks[0, 0, 0, :2] = True
    masks[0, 1, 0, :2] = True
    masks[1, 1, 3, 2:] = True
    masks[0, 2, :2] = True
    return VideoSample("two", film(4, (4, 4)), "both", truth=from_stacks(masks))


@pytest.fixture
def absent(film):
    return VideoSample("absent", film(4, (4, 4)), "the green bar", truth=empty((4, 4), 4))


@pytest.fixture
def unknown(film):
    return VideoSample("unknown", film(4, (4, 4)), "anything")


@pytest.mark.parametrize(("keyframe", "expected"), [(0, 0.5), (1, 1.0), (3, 0.0), (2, 0.0)])
def test_area_at_the_keyframe_over_the_largest_area_shown(two, keyframe, expected):
    # Frame 2 holds the most of the target, but was not shown: it neither counts as largest nor may be chosen.
    assert keyframe_area(two, choose(keyframe, (0, 0, 1, 1)), SHOWN) == expected


def test_no_keyframe_is_better_than_another_where_none_shows_the_target(two):
    assert keyframe_area(two, choose(3, (0, 0, 1, 1)), (3,)) is None
    assert keyframe_area(two, NONE, (3,)) is None


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(0, 0, 2, 1), (2, 3, 4, 4)], 1.0),
        ([(2, 3, 4, 4), (0, 0, 2, 1)], 1.0),
        ([(0, 0, 2, 1)], 0.5),
        ([(0, 0, 1, 1), (2, 3, 4, 4)], 0.75),
        ([(0, 0, 2, 1), (2, 3, 4, 4), (0, 0, 4, 4)], 2 / 3),
        ([(3, 0, 4, 1), (0, 3, 1, 4)], 0.0),
    ],
)
def test_boxes_are_matched_one_to_one(two, boxes, expected):
    assert matched_boxes(two, choose(1, *boxes), SHOWN) == pytest.approx(expected)


def test_only_targets_seen_in_the_keyframe_are_asked_for(two):
    assert matched_boxes(two, choose(0, (0, 0, 2, 1)), SHOWN) == 1.0
    assert matched_boxes(two, choose(3, (0, 0, 2, 1)), SHOWN) == 0.0


def test_a_keyframe_that_was_not_shown_earns_nothing(two):
    assert matched_boxes(two, choose(2, (0, 0, 4, 2)), SHOWN) == 0.0


@pytest.mark.parametrize("name", REWARDS)
def test_abstaining_is_right_exactly_where_there_is_no_target(name, two, absent):
    assert REWARDS[name](absent, NONE, SHOWN) == 1.0
    assert REWARDS[name](absent, choose(1, (0, 0, 2, 1)), SHOWN) == 0.0
    assert REWARDS[name](two, NONE, SHOWN) == 0.0


@pytest.mark.parametrize("name", REWARDS)
def test_nothing_is_scored_without_truth(name, unknown):
    assert REWARDS[name](unknown, NONE, SHOWN) is None
    assert REWARDS[name](unknown, choose(1, (0, 0, 2, 1)), SHOWN) is None


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("coordinates", ["pixels", "thousandths"])
def test_the_truth_through_writer_and_parser_scores_full_marks(name, coordinates, two, absent):
    for sample, keyframe in ((two, 1), (absent, None)):
        shown = describe(sample.video, View(4, (8, 8), coordinates), SHOWN)
        boxes = np.zeros((0, 4)) if keyframe is None else sample.truth.boxes(keyframe)
        answer = parse_answer(write_answer("because", keyframe, boxes, shown), shown)
        assert REWARDS[name](sample, answer, shown.indices) == 1.0
