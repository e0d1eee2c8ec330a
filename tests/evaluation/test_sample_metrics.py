"""What predicted masks are worth, whatever form they come in."""

import numpy as np
import pytest

from thinkseg.data.benchmarks.base import Expression
from thinkseg.evaluation.sample_metrics import compare, compare_tracks
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.metrics import j_and_f

TRUE = np.zeros((5, 6, 7), bool)
TRUE[:4, 1:4, 1:5] = True
OURS = np.zeros((5, 6, 7), bool)
OURS[1:, 2:5, 2:6] = True

UNKNOWN = {"j": None, "f": None, "intersection": None, "union": None}


class Pictures:
    """Masks that are no run lengths."""

    def __init__(self, masks):
        self.masks = masks

    def union(self, frame):
        return self.masks[frame]


def asked(scored):
    return Expression("clip", "0", "it", "", ("1",), scored, ("clip/0",))


@pytest.mark.parametrize("scored", [range(5), (0, 3), (4,)])
def test_run_lengths_and_pictures_are_worth_the_same_to_the_last_bit(scored):
    rows = [
        compare(asked(scored), masks, from_stacks(TRUE[None])) for masks in (from_stacks(OURS[None]), Pictures(OURS))
    ]
    assert rows[0] == rows[1]
    j, f = j_and_f(OURS[list(scored)], TRUE[list(scored)])
    both, either = (TRUE & OURS)[list(scored)].sum(), (TRUE | OURS)[list(scored)].sum()
    assert rows[0] == {"j": j.mean(), "f": f.mean(), "intersection": both, "union": either, "empty": False}


def test_empty_in_the_scored_frames_is_empty():
    for masks in (from_stacks(OURS[None]), Pictures(OURS)):
        assert compare(asked((0,)), masks, from_stacks(TRUE[None]))["empty"] is True
        assert compare(asked((0,)), masks, None) == {**UNKNOWN, "empty": True}
        assert compare(asked((0, 1)), masks, None) == {**UNKNOWN, "empty": False}


def test_no_target_and_no_masks_is_right():
    row = compare(asked(range(5)), empty((7, 6), 5), empty((7, 6), 5))
    assert row == {"j": 1.0, "f": 1.0, "intersection": 0, "union": 0, "empty": True}


def test_no_masks_at_all_are_worth_nothing():
    nothing = {"j": 0.0, "f": 0.0, "intersection": 0, "empty": False}
    assert compare(asked(range(5)), None, empty((7, 6), 5)) == {**nothing, "union": 0}
    true = from_stacks(TRUE[None])
    assert compare(asked((0, 4)), None, true, true) == {**nothing, "union": 12, "r_visa255": 0.0, "r_area": 0.0}
    assert compare(asked(range(5)), None, None) == {**UNKNOWN, "empty": False}


@pytest.mark.parametrize("scored", [range(5), (1, 3)])
def test_robustness_is_that_of_wrapping_bytes(scored):
    """As VISA's evaluator is described, with pictures of 0 and 255, and two objects that share pixels."""
    other, frames = np.roll(TRUE, 1, axis=2), list(scored)
    seen = TRUE | other | np.roll(TRUE, -2, axis=1)
    for masks in (from_stacks(OURS[None]), Pictures(OURS)):
        row = compare(asked(scored), masks, from_stacks(np.array([TRUE, other])), from_stacks(seen[None]))
        expected = []
        for ours, first, second, around in zip(*(video[frames] for video in (OURS, TRUE, other, seen)), strict=True):
            num_true, picture = first.astype(np.uint8) + second, ours * np.uint8(255)
            wrong = ((1 - num_true) * picture).sum()
            expected.append(max(1 - wrong / (around.sum() + 1e-6), 0.0))
        assert row["r_visa255"] == np.mean(expected)
        wrong = (OURS & ~TRUE & ~other)[frames].sum((1, 2))
        assert row["r_area"] == np.mean(np.maximum(1 - wrong / (seen[frames].sum((1, 2)) + 1e-6), 0))
        assert 0 < row["r_area"] < 1


def test_a_question_without_a_target_has_no_robustness():
    row = compare(asked(range(5)), from_stacks(OURS[None]), empty((7, 6), 5), from_stacks(TRUE[None]))
    assert "r_area" not in row


def test_tracks_are_kept_apart_and_merged_pictures_are_one():
    truth = from_stacks(np.array([TRUE, OURS]))
    both = compare_tracks(asked((1, 2)), from_stacks(np.array([OURS, TRUE])), truth)
    overlap = np.float32((TRUE & OURS)[1:3].sum() / (TRUE | OURS)[1:3].sum())
    assert both == {"ious": [[overlap, 1], [1, overlap]], "tracks": 2}
    assert compare_tracks(asked((1, 2)), Pictures(OURS), truth) == {"ious": [[overlap, 1]], "tracks": 2}
    # Frame 0 of ours is black, and then there is no track.
    assert compare_tracks(asked((0,)), Pictures(OURS), truth) == {"ious": [], "tracks": 2}
    assert compare_tracks(asked((0,)), None, truth) == {"ious": [], "tracks": 2}
    assert compare_tracks(asked((0,)), Pictures(OURS), None) == {"ious": None, "tracks": None}


def test_masks_of_another_size_are_a_bug():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(asked(range(5)), empty((6, 7), 5), empty((7, 6), 5))


def test_without_a_scored_frame_nothing_is_known():
    assert compare(asked(()), from_stacks(OURS[None]), from_stacks(TRUE[None]))["j"] is None
