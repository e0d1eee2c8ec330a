"""R against the byte arithmetic it comes from, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg.evaluation.protocols.revos import robustness_area, robustness_visa255

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def frame_in_bytes(picture, num_true, foreground):
    """One frame as VISA's evaluator is described: a product of bytes, which wrap, summed up."""
    assert picture.dtype == num_true.dtype == foreground.dtype == np.uint8
    wrong = ((1 - num_true) * picture).sum()
    return max(1 - wrong / (foreground.sum() + 1e-6), 0.0)


def counted(predicted, num_true, foreground):
    """Pixels of each frame: predicted outside all objects, claimed by several, in the foreground."""
    inside = predicted & (num_true > 0)
    numbers = (predicted & (num_true == 0), np.where(inside, num_true.astype(int) - 1, 0), foreground)
    return [number.sum(axis=(1, 2), dtype=np.int64) for number in numbers]


@given(
    SHAPES.flatmap(
        lambda shape: st.tuples(
            arrays.arrays(bool, shape),
            arrays.arrays(np.uint8, shape, elements=st.integers(0, 4)),
            arrays.arrays(bool, shape),
        )
    )
)
def test_robustness_visa255_matches_wrapping_bytes(masks):
    predicted, num_true, foreground = masks
    expected = [
        frame_in_bytes(ours.view(np.uint8) * np.uint8(255), true, others.view(np.uint8))
        for ours, true, others in zip(predicted, num_true, foreground, strict=True)
    ]
    assert robustness_visa255(*counted(predicted, num_true, foreground)).tolist() == expected


def masks_4x4():
    foreground = np.ones((1, 4, 4), bool)
    predicted = np.zeros((1, 4, 4), bool)
    predicted[0, 0] = True
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0, :3] = 1
    return predicted, truth, foreground


def test_robustness_one_wrong_pixel():
    outside, surplus, foreground = counted(*masks_4x4())
    assert robustness_visa255(outside, surplus, foreground).tolist() == [0.0]
    assert robustness_area(outside, foreground).tolist() == [pytest.approx(15 / 16)]


def test_robustness_visa255_shared_pixel_counts_as_wrong():
    predicted, truth, foreground = masks_4x4()
    truth[0, 0] = 2
    outside, surplus, area = counted(predicted, truth, foreground)
    assert robustness_visa255(outside, surplus, area).tolist() == [pytest.approx(12 / 16)]
    assert robustness_area(outside, area).tolist() == [1.0]


def test_robustness_without_foreground():
    nothing, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    assert robustness_visa255(one, nothing, nothing).tolist() == robustness_area(one, nothing).tolist() == [0.0]
    assert robustness_visa255(nothing, nothing, nothing).tolist() == robustness_area(nothing, nothing).tolist() == [1.0]
