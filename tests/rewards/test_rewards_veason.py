from dataclasses import replace

import numpy as np
import pytest

from thinkseg.ops.masks import empty, from_stacks
from thinkseg.rewards import Prompt
from thinkseg.rewards.veason import boxes, consistency, keyframe, keyframe_first, matched_boxes

UPPER, LOWER = (0, 0, 2, 1), (2, 3, 4, 4)
"""The two targets in frame 1."""


@pytest.mark.parametrize(("chosen", "expected"), [(0, 0.5), (1, 1.0), (3, 0.0), (2, 0.0)])
def test_keyframe_is_area_over_largest_area_shown(two, choose, chosen, expected):
    # Frame 2 has the largest area but is not shown, so it is neither the maximum nor a valid choice.
    assert keyframe(choose(two, chosen, (0, 0, 1, 1))) == expected


@pytest.mark.parametrize(("chosen", "expected"), [(0, 1.0), (1, 0.0), (3, 0.0), (2, 0.0)])
def test_keyframe_first_is_1_in_first_frame_with_target(two, choose, chosen, expected):
    assert keyframe_first(choose(two, chosen, UPPER)) == expected


def test_keyframe_first_skips_frames_without_target(two, choose):
    late = Prompt(
        replace(two.sample, truth=from_stacks(np.arange(4).reshape(1, 4, 1, 1) * np.ones((4, 4)) > 0)), (0, 1, 3)
    )
    assert [keyframe_first(choose(late, frame, UPPER)) for frame in (0, 1, 3)] == [0.0, 1.0, 0.0]


def test_keyframe_invalid_boxes_still_scores(two, fail):
    rollout = fail(two, "invalid_boxes", 2, keyframe=0)
    assert (keyframe(rollout), boxes(rollout), consistency(rollout)) == (0.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([UPPER, LOWER], 1.0),
        ([LOWER, UPPER], 1.0),
        ([UPPER], 0.5),
        ([(0, 0, 1, 1), LOWER], 0.75),
        ([UPPER, LOWER, (0, 0, 4, 4)], 2 / 3),
        ([(3, 0, 4, 1), (0, 3, 1, 4)], 0.0),
    ],
)
def test_boxes_matched_one_to_one(two, choose, predicted, expected):
    assert boxes(choose(two, 1, *predicted)) == pytest.approx(expected)


def test_boxes_hidden_target_has_no_box(two, choose):
    assert boxes(choose(two, 0, UPPER)) == 1.0
    assert boxes(choose(two, 3, UPPER)) == 0.0


@pytest.mark.parametrize(
    ("predicted", "kept"),
    [
        ([LOWER, UPPER], [LOWER, UPPER]),
        ([(0, 0, 4, 4), LOWER, UPPER], [LOWER, UPPER]),
        ([(3, 0, 4, 1)], [(3, 0, 4, 1)]),
        ([], []),
    ],
)
def test_matched_boxes_keep_order_of_answer(two, choose, predicted, kept):
    # A box without overlap is matched too if no other is left.
    np.testing.assert_array_equal(matched_boxes(choose(two, 1, *predicted)), np.float32(kept).reshape(-1, 4))


def test_matched_boxes_without_visible_target_are_none(two, hidden, absent, unknown, choose, fail):
    nowhere = [
        choose(two, 2, UPPER),
        choose(two, 3, UPPER),
        choose(two, None),
        fail(two, "invalid_boxes", 2, keyframe=1),
    ]
    for rollout in [*nowhere, choose(hidden, 3, UPPER), choose(absent, 1, UPPER), choose(unknown, 1, UPPER)]:
        assert matched_boxes(rollout).shape == (0, 4)


def test_consistency_is_mean_iou_over_frames_shown(two, choose):
    """The IoUs in frames 0, 1 and 3 are 1, 2/4 and 0."""
    masks = np.zeros((1, 3, 4, 4), bool)
    masks[0, :, 0, :2] = True
    rollout = replace(choose(two, 1, UPPER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_consistency_both_masks_empty_counts_1(two, choose):
    masks = np.zeros((1, 3, 4, 4), bool)
    masks[0, :2, 0, :2] = True
    rollout = replace(choose(two, 1, UPPER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_consistency_merges_objects(two, choose):
    masks = np.zeros((2, 3, 4, 4), bool)
    masks[0, :2, 0, :2] = True
    masks[1, 1, 3, 2:] = True
    masks[1, 2] = True
    rollout = replace(choose(two, 1, UPPER, LOWER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 + 0) / 3)


def test_consistency_no_objects_scores_as_empty_masks(two, choose):
    assert consistency(replace(choose(two, 1, UPPER), masklets=empty((4, 4), 3))) == pytest.approx((0 + 0 + 1) / 3)


def test_consistency_untracked_answer_raises(two, choose):
    with pytest.raises(ValueError, match="answer to sample 'two' is not tracked"):
        consistency(choose(two, 1, UPPER))


def test_consistency_masks_of_other_frames_raise(two, choose):
    with pytest.raises(ValueError, match="same size and number of frames"):
        consistency(replace(choose(two, 1, UPPER), masklets=empty((4, 4), 4)))


def test_prompt_covers_frames_shown_only(two):
    assert dict(two.areas) == {0: 2, 1: 4, 3: 0}
    assert {frame: len(found) for frame, found in two.boxes.items()} == {0: 1, 1: 2, 3: 0}
    assert [two.masklets.area(position) for position in range(3)] == [2, 4, 0]


def test_prompt_without_truth_raises(unknown):
    assert not unknown.shows_target
    with pytest.raises(ValueError, match="sample 'unknown' has no ground truth"):
        _ = unknown.areas
    assert not Prompt(unknown.sample, ()).shows_target
