"""Keyframes and the frames around them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.annotation.tasks import keyframe_of, shown_with
from thinkseg.ops.masks import from_stacks


def growing(areas):
    """One object that covers so many pixels of a 4x4 frame, frame by frame."""
    masks = np.zeros((1, len(areas), 16), bool)
    for frame, area in enumerate(areas):
        masks[0, frame, :area] = True
    return from_stacks(masks.reshape(1, -1, 4, 4))


def drawn(truth, annotated):
    return {keyframe_of(truth, annotated, number) for number in range(30)}


def test_the_keyframe_is_one_of_the_five_largest():
    assert drawn(growing([1, 9, 3, 8, 7, 2, 6, 5]), range(8)) == {1, 3, 4, 6, 7}


def test_fewer_where_the_target_is_seen_in_fewer():
    assert drawn(growing([0, 4, 0, 2]), range(4)) == {1, 3}
    assert drawn(growing([0, 4, 0, 2]), [0, 3]) == {3}


def test_none_where_it_is_not_seen():
    assert keyframe_of(growing([0, 0]), range(2), 1) is None
    assert keyframe_of(growing([0, 5]), [0], 1) is None
    assert keyframe_of(from_stacks(np.zeros((0, 2, 4, 4), bool)), range(2), 1) is None


def test_objects_count_together():
    masks = np.zeros((2, 6, 4, 4), bool)
    masks[0, :, 0] = True
    masks[1, 2, 1:] = True
    assert keyframe_of(from_stacks(masks), range(6), 0) == 2


def test_the_keyframe_takes_the_place_of_the_nearest():
    assert shown_with(9, 3, None) == (0, 4, 8)
    assert shown_with(9, 3, 4) == (0, 4, 8)
    assert shown_with(9, 3, 5) == (0, 5, 8)
    assert shown_with(9, 3, 1) == (1, 4, 8)
    assert shown_with(9, 1, 7) == (7,)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_exactly_as_many_as_asked_for_with_the_keyframe_among_them(total, count, data):
    keyframe = data.draw(st.integers(0, total - 1))
    shown = shown_with(total, count, keyframe)
    assert len(shown) == min(count, total)
    assert keyframe in shown
    assert list(shown) == sorted(set(shown))
    assert shown[0] >= 0
    assert shown[-1] < total
