from dataclasses import replace

import numpy as np
import pytest

from thinkseg.ops.masks import empty, from_stacks
from thinkseg.rewards import Prompt
from thinkseg.rewards.veason import boxes, consistency, keyframe, matched_boxes

UPPER, LOWER = (0, 0, 2, 1), (2, 3, 4, 4)
"""The two targets in frame 1."""


@pytest.mark.parametrize(("chosen", "expected"), [(0, 0.5), (1, 1.0), (3, 0.0), (2, 0.0)])
def test_area_at_the_keyframe_over_the_largest_area_shown(two, choose, chosen, expected):
    # Frame 2 holds the most of the targets, but was not shown: it neither counts as largest nor may be chosen.
    assert keyframe(choose(two, chosen, (0, 0, 1, 1))) == expected


def test_the_keyframe_counts_though_no_boxes_could_be_read_on_it(two, fail):
    rollout = fail(two, "boxes", 2, keyframe=0)
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
def test_boxes_are_matched_one_to_one(two, choose, predicted, expected):
    assert boxes(choose(two, 1, *predicted)) == pytest.approx(expected)


def test_only_targets_seen_in_the_keyframe_are_asked_for(two, choose):
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
def test_what_is_tracked_are_the_matched_boxes_as_they_were_written(two, choose, predicted, kept):
    # A box that overlaps nothing is matched too where there is no better one.
    np.testing.assert_array_equal(matched_boxes(choose(two, 1, *predicted)), np.float32(kept).reshape(-1, 4))


def test_nothing_is_tracked_where_nothing_can_be_right(two, hidden, absent, unknown, choose, fail):
    nowhere = [choose(two, 2, UPPER), choose(two, 3, UPPER), choose(two, None), fail(two, "boxes", 2, keyframe=1)]
    for rollout in [*nowhere, choose(hidden, 3, UPPER), choose(absent, 1, UPPER), choose(unknown, 1, UPPER)]:
        assert matched_boxes(rollout).shape == (0, 4)


def test_consistency_is_the_mean_iou_over_the_frames_shown(two, choose):
    """Shown are frames 0, 1 and 3, with IoUs 1, 2/4 and, something where there is nothing, 0."""
    masks = np.zeros((1, 3, 4, 4), bool)
    masks[0, :, 0, :2] = True
    rollout = replace(choose(two, 1, UPPER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_a_frame_in_which_there_is_rightly_nothing_counts_1(two, choose):
    masks = np.zeros((1, 3, 4, 4), bool)
    masks[0, :2, 0, :2] = True
    rollout = replace(choose(two, 1, UPPER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_tracked_objects_are_merged(two, choose):
    masks = np.zeros((2, 3, 4, 4), bool)
    masks[0, :2, 0, :2] = True
    masks[1, 1, 3, 2:] = True
    masks[1, 2] = True
    rollout = replace(choose(two, 1, UPPER, LOWER), masklets=from_stacks(masks))
    assert consistency(rollout) == pytest.approx((1 + 1 + 0) / 3)


def test_masks_lost_by_the_tracker_earn_what_empty_masks_earn(two, choose):
    assert consistency(replace(choose(two, 1, UPPER), masklets=empty((4, 4), 3))) == pytest.approx((0 + 0 + 1) / 3)


def test_what_was_not_tracked_is_not_taken_for_wrong(two, choose):
    with pytest.raises(ValueError, match="answer to sample 'two' has to be tracked"):
        consistency(choose(two, 1, UPPER))


def test_masks_of_other_frames_are_not_compared(two, choose):
    with pytest.raises(ValueError, match="share size and length"):
        consistency(replace(choose(two, 1, UPPER), masklets=empty((4, 4), 4)))


def test_a_prompt_looks_at_the_frames_shown_alone(two):
    assert dict(two.areas) == {0: 2, 1: 4, 3: 0}
    assert {frame: len(found) for frame, found in two.boxes.items()} == {0: 1, 1: 2, 3: 0}
    assert [two.masklets.area(position) for position in range(3)] == [2, 4, 0]


def test_a_prompt_without_truth_says_so(unknown):
    assert not unknown.shows_target
    with pytest.raises(ValueError, match="truth of sample 'unknown' is not known"):
        _ = unknown.areas
    assert not Prompt(unknown.sample, ()).shows_target
