"""What predicted masks are worth, whatever form they come in."""

import numpy as np
import pytest

from thinkseg.data.benchmark import Expression
from thinkseg.marks import compare
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.metrics import j_and_f

TRUE = np.zeros((5, 6, 7), bool)
TRUE[:4, 1:4, 1:5] = True
OURS = np.zeros((5, 6, 7), bool)
OURS[1:, 2:5, 2:6] = True


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
    assert rows[0] == {"j": j.mean(), "f": f.mean(), "empty": False}


def test_empty_in_the_scored_frames_is_empty():
    for masks in (from_stacks(OURS[None]), Pictures(OURS)):
        assert compare(asked((0,)), masks, from_stacks(TRUE[None]))["empty"] is True
        assert compare(asked((0,)), masks, None) == {"j": None, "f": None, "empty": True}
        assert compare(asked((0, 1)), masks, None) == {"j": None, "f": None, "empty": False}


def test_no_target_and_no_masks_is_right():
    assert compare(asked(range(5)), empty((7, 6), 5), empty((7, 6), 5)) == {"j": 1.0, "f": 1.0, "empty": True}


def test_no_masks_at_all_are_worth_nothing():
    assert compare(asked(range(5)), None, empty((7, 6), 5)) == {"j": 0.0, "f": 0.0, "empty": False}
    assert compare(asked(range(5)), None, None) == {"j": None, "f": None, "empty": False}


def test_without_a_scored_frame_nothing_is_known():
    assert compare(asked(()), from_stacks(OURS[None]), from_stacks(TRUE[None]))["j"] is None
