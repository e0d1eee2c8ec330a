"""R against the byte arithmetic it comes from, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg.protocols.robustness import r_area, r_visa255

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def frame_in_bytes(picture, num_true, foreground):
    """One frame as VISA's evaluator is described: a product of bytes, which wrap, summed up."""
    assert picture.dtype == num_true.dtype == foreground.dtype == np.uint8
    wrong = ((1 - num_true) * picture).sum()
    return max(1 - wrong / (foreground.sum() + 1e-6), 0.0)


@given(
    SHAPES.flatmap(
        lambda shape: st.tuples(
            arrays.arrays(bool, shape),
            arrays.arrays(np.uint8, shape, elements=st.integers(0, 4)),
            arrays.arrays(bool, shape),
        )
    )
)
def test_r_visa255_is_that_of_wrapping_bytes(masks):
    predicted, num_true, foreground = masks
    expected = [
        frame_in_bytes(ours.view(np.uint8) * np.uint8(255), true, others.view(np.uint8))
        for ours, true, others in zip(predicted, num_true, foreground, strict=True)
    ]
    assert r_visa255(predicted, num_true, foreground).tolist() == expected


def masks_4x4():
    foreground = np.ones((1, 4, 4), bool)
    predicted = np.zeros((1, 4, 4), bool)
    predicted[0, 0] = True
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0, :3] = 1
    return predicted, truth, foreground


def test_one_wrong_pixel_is_all_or_a_sixteenth():
    predicted, truth, foreground = masks_4x4()
    assert r_visa255(predicted, truth, foreground).tolist() == [0.0]
    assert r_area(predicted, truth, foreground).tolist() == [pytest.approx(15 / 16)]


def test_a_right_pixel_of_two_objects_counts_as_one_wrong():
    predicted, truth, foreground = masks_4x4()
    truth[0, 0] = 2
    assert r_visa255(predicted, truth, foreground).tolist() == [pytest.approx(12 / 16)]
    assert r_area(predicted, truth, foreground).tolist() == [1.0]


def test_frames_without_foreground():
    predicted, truth, foreground = masks_4x4()
    nothing = np.zeros_like(foreground)
    assert r_visa255(predicted, truth, nothing).tolist() == [0.0]
    assert r_visa255(nothing, truth, nothing).tolist() == r_area(nothing, truth, nothing).tolist() == [1.0]


def test_shapes_must_agree():
    predicted, truth, foreground = masks_4x4()
    with pytest.raises(ValueError, match="must share a shape"):
        r_area(predicted, truth, foreground[..., :3])
    with pytest.raises(ValueError, match="must share a shape"):
        r_visa255(predicted[0], truth[0], foreground[0])
