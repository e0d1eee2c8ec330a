"""J and F against a plain transcription of the DAVIS 2017 definition and against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg.ops import metrics


def reference_contour(mask):
    height, width = mask.shape
    contour = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            east = x + 1 < width and mask[y, x] != mask[y, x + 1]
            south = y + 1 < height and mask[y, x] != mask[y + 1, x]
            diagonal = y + 1 < height and x + 1 < width and mask[y, x] != mask[y + 1, x + 1]
            contour[y, x] = east or south or diagonal
    return contour


def reference_dilation(contour, radius):
    height, width = contour.shape
    grown = np.zeros((height, width), bool)
    for y, x in np.argwhere(contour):
        ys, xs = np.ogrid[:height, :width]
        grown |= (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
    return grown


def reference_frame(predicted, truth):
    either = np.logical_or(predicted, truth).sum()
    j = np.logical_and(predicted, truth).sum() / either if either else 1.0
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    ours, true = reference_contour(predicted), reference_contour(truth)
    if not ours.any() or not true.any():
        return j, float(ours.any() == true.any())
    precision = (ours & reference_dilation(true, radius)).sum() / ours.sum()
    recall = (true & reference_dilation(ours, radius)).sum() / true.sum()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def assert_as_defined(predicted, truth):
    j, f = metrics.j_and_f(predicted, truth)
    assert j.dtype == f.dtype == np.float64
    expected = [reference_frame(ours != 0, true != 0) for ours, true in zip(predicted, truth, strict=True)]
    assert list(zip(j.tolist(), f.tolist(), strict=True)) == expected


VIDEO_SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))


@given(VIDEO_SHAPES.flatmap(lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape))))
def test_noise_scores_as_defined(pair):
    assert_as_defined(*pair)


@st.composite
def rectangles(draw, height, width):
    """A mask of one to three rectangles, many of which touch the frame's edge."""
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 3))):
        y0, y1 = sorted((draw(st.integers(0, height)), draw(st.integers(0, height))))
        x0, x1 = sorted((draw(st.integers(0, width)), draw(st.integers(0, width))))
        mask[y0:y1, x0:x1] ^= True
    return mask


@given(st.data(), st.integers(1, 30), st.integers(1, 30))
def test_regions_score_as_defined(data, height, width):
    predicted, truth = data.draw(rectangles(height, width)), data.draw(rectangles(height, width))
    assert_as_defined(predicted[None], truth[None])


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4, 5, 9])
def test_tolerance_of_a_larger_frame_is_a_disk(shift):
    # 120 x 160 tolerates 2 pixels: a disk and a square of that radius differ at the corners of the L.
    truth = np.zeros((1, 120, 160), bool)
    truth[0, 30:80, 40:90] = True
    truth[0, 30:50, 40:60] = False
    predicted = np.roll(truth, (shift, shift), axis=(1, 2))
    assert metrics.tolerance_px(120, 160) == 2
    assert_as_defined(predicted, truth)


def test_tolerances_of_common_sizes():
    assert metrics.tolerance_px(480, 854) == 8
    assert metrics.tolerance_px(1080, 1920) == 18


LEFT = np.array([[1, 1, 0, 0]] * 4, bool)
TOP = LEFT.T.copy()
DOT = np.zeros((4, 4), bool)
DOT[1, 1] = True
LAST = np.zeros((4, 4), bool)
LAST[3, 3] = True
EMPTY, FULL = np.zeros((4, 4), bool), np.ones((4, 4), bool)


@pytest.mark.parametrize(
    ("predicted", "truth", "j", "f"),
    [
        (EMPTY, EMPTY, 1, 1),
        (FULL, FULL, 1, 1),
        (EMPTY, FULL, 0, 1),  # neither has a contour
        (FULL, EMPTY, 0, 1),
        (EMPTY, DOT, 0, 0),
        (DOT, EMPTY, 0, 0),
        (DOT, DOT, 1, 1),
        (FULL, LEFT, 0.5, 0),  # a full mask has no contour to be found
        (LEFT, LEFT, 1, 1),
        # LEFT's contour is its column 1 (4 pixels), ~LEFT's the same: J sees nothing shared, F everything.
        (~LEFT, LEFT, 0, 1),
        # Contours: column 1 and row 1; tolerance 1. Of either's 4 pixels, 3 lie within 1 of the other.
        (LEFT, TOP, 4 / 12, 0.75),
        # DOT's contour: (0,0), (0,1), (1,0), (1,1); LAST's: (2,2), (2,3), (3,2). All further apart than 1.
        (DOT, LAST, 0, 0),
    ],
)
def test_hand_worked_4x4(predicted, truth, j, f):
    got_j, got_f = metrics.j_and_f(predicted[None], truth[None])
    assert got_j.tolist() == [pytest.approx(j)]
    assert got_f.tolist() == [pytest.approx(f)]


def test_uint8_of_any_value_equals_bool():
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, 3, 20, 30)) < 0.5
    expected = metrics.j_and_f(predicted, truth)
    got = metrics.j_and_f(predicted.astype(np.uint8) * 255, truth.astype(np.uint8) * 2)
    assert np.array_equal(got, expected)


def test_memory_order_does_not_matter():
    rng = np.random.default_rng(1)
    predicted, truth = rng.random((2, 2, 20, 30)) < 0.5
    flipped = metrics.j_and_f(np.asfortranarray(predicted), truth[..., ::-1][..., ::-1])
    assert np.array_equal(flipped, metrics.j_and_f(predicted, truth))


def test_no_frames_give_no_scores():
    j, f = metrics.j_and_f(np.zeros((0, 4, 4), bool), np.zeros((0, 4, 4), bool))
    assert j.shape == f.shape == (0,)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 5), (1, 4, 4)])
def test_shapes_must_agree(shape):
    with pytest.raises(ValueError, match="must share a shape"):
        metrics.j_and_f(np.zeros(shape, bool), np.zeros((2, 4, 4), bool) if len(shape) == 3 else np.zeros(shape, bool))
