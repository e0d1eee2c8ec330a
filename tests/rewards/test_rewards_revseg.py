import numpy as np
import pytest

from thinkseg.ops.masks import from_stacks
from thinkseg.rewards import Prompt
from thinkseg.rewards.revseg import box_hit, keyframe_present, keyframe_soft
from thinkseg.types import VideoSample

UPPER, LOWER = (0, 0, 2, 1), (2, 3, 4, 4)
"""The two targets in frame 1."""


@pytest.fixture
def growing(film):
    """Makes prompts with one target in 4x4 frames: growing((w, h), ...) gives its box per frame, (0, 0) for none.

    The mask has only two corners of the box, so that mask area and box area differ.
    """

    def growing(*sizes):
        masks = np.zeros((1, len(sizes), 4, 4), bool)
        for mask, (width, height) in zip(masks[0], sizes, strict=True):
            if width:
                mask[0, 0] = mask[height - 1, width - 1] = True
        sample = VideoSample("growing", film(len(sizes), (4, 4)), "it", truth=from_stacks(masks))
        return Prompt(sample, tuple(range(len(sizes))))

    return growing


@pytest.mark.parametrize(("frame", "expected"), [(0, 0.0), (1, 2 / 14), (2, 7 / 14), (3, 1.0)])
def test_keyframe_soft_is_area_between_min_and_max(growing, choose, frame, expected):
    """Boxes of 2, 4, 9 and 16 pixels: (S - 2) / (16 - 2)."""
    prompt = growing((2, 1), (2, 2), (3, 3), (4, 4))
    assert keyframe_soft(choose(prompt, frame, UPPER)) == pytest.approx(expected)


@pytest.mark.parametrize(("frame", "expected"), [(0, 0.0), (1, 4 / 16), (2, 1.0)])
def test_keyframe_soft_frame_without_target_is_minimum(growing, choose, frame, expected):
    prompt = growing((0, 0), (2, 2), (4, 4))
    assert keyframe_soft(choose(prompt, frame, UPPER)) == pytest.approx(expected)


def test_keyframe_soft_equal_areas_score_1(growing, choose):
    prompt = growing((2, 2), (2, 2))
    assert [keyframe_soft(choose(prompt, frame, UPPER)) for frame in (0, 1)] == [1.0, 1.0]


def test_keyframe_soft_sums_targets(two, choose):
    """Box areas 2, 2 + 2 and 0 in the frames shown."""
    assert keyframe_soft(choose(two, 0, UPPER)) == pytest.approx(2 / 4)
    assert keyframe_soft(choose(two, 1, UPPER)) == 1.0


@pytest.mark.parametrize(("frame", "expected"), [(0, 0.0), (1, 1.0), (2, 1.0)])
def test_keyframe_present_is_1_where_target_is_visible(growing, choose, frame, expected):
    assert keyframe_present(choose(growing((0, 0), (1, 1), (4, 4)), frame, UPPER)) == expected


def test_keyframe_soft_second_reply_invalid_still_scores(two, fail):
    rollout = fail(two, "invalid_json", 2, keyframe=1)
    assert (keyframe_soft(rollout), box_hit(rollout)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 4, 4), 1.0), ((0, 0, 4, 2.25), 1.0), ((0, 0, 4, 2), 0.0), ((0, 0, 2, 2), 0.0), ((3, 3, 4, 4), 0.0)],
)
def test_box_hit_requires_iou_above_half(growing, choose, box, expected):
    # IoUs 1, 9/16, exactly 1/2, 1/4 and 1/16.
    assert box_hit(choose(growing((2, 2), (4, 4)), 1, box)) == expected


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([UPPER, LOWER], 1.0),
        ([LOWER, UPPER], 1.0),
        ([UPPER], 1 / 2),
        ([UPPER, UPPER], 1 / 2),
        ([UPPER, LOWER, (0, 0, 4, 4)], 2 / 3),
        ([UPPER, (0, 0, 4, 4)], 1 / 2),
    ],
)
def test_box_hit_several_targets_is_share(two, choose, boxes, expected):
    assert box_hit(choose(two, 1, *boxes)) == pytest.approx(expected)
