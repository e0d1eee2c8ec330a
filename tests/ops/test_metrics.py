"""J and F against two direct implementations of the DAVIS 2017 definition and against values computed manually.

One goes pixel by pixel and serves small frames; the other takes the steps of the official evaluator in OpenCV.
"""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg.ops import metrics
from thinkseg.ops.masks import from_stacks
from thinkseg.types import Masklets


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


def evaluator_contour(mask):
    """Compares neighbors shifted in, with zeros from outside; the last row and column have rules of their own."""
    east, south, diagonal = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1], south[:-1], diagonal[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    contour = mask ^ east | mask ^ south | mask ^ diagonal
    contour[-1] = mask[-1] ^ east[-1]
    contour[:, -1] = mask[:, -1] ^ south[:, -1]
    contour[-1, -1] = False
    return contour


def evaluator_frame(predicted, truth, void):
    known = np.logical_not(void)
    inters, union = np.sum(predicted & truth & known), np.sum((predicted | truth) & known)
    j = 1.0 if np.isclose(union, 0) else inters / union
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    ours, true = evaluator_contour(predicted & known), evaluator_contour(truth & known)
    near_ours, near_true = cv2.dilate(ours.astype(np.uint8), disk), cv2.dilate(true.astype(np.uint8), disk)
    if ours.sum() == 0 or true.sum() == 0:
        precision, recall = (1, 1) if ours.sum() == true.sum() else (0, 1)
    else:
        precision = np.sum(ours * near_true) / float(ours.sum())
        recall = np.sum(true * near_ours) / float(true.sum())
    return j, 0.0 if 0 in (precision, recall) else 2 * precision * recall / (precision + recall)


def assert_as_evaluated(predicted, truth, void=None):
    """Arrays and RLEs, bit-identical."""
    hidden = np.zeros_like(truth) if void is None else void
    frames = zip(predicted, truth, hidden, strict=True)
    expected = np.array([evaluator_frame(*frame) for frame in frames], np.float64).T
    assert np.array_equal(metrics.j_and_f(predicted, truth, void), expected)
    runs = (from_stacks((masks & ~hidden)[None]) for masks in (predicted, truth))
    assert np.array_equal(metrics.masklets_j_and_f(*runs), expected)


def disc(height, width, centre, radius):
    ys, xs = np.ogrid[:height, :width]
    return (ys - centre[0]) ** 2 + (xs - centre[1]) ** 2 <= radius**2


VIDEO_SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))


@given(VIDEO_SHAPES.flatmap(lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape))))
def test_j_and_f_noise_matches_definition(pair):
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
def test_j_and_f_regions_match_definition(data, height, width):
    predicted, truth = data.draw(rectangles(height, width)), data.draw(rectangles(height, width))
    assert_as_defined(predicted[None], truth[None])


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4, 5, 9])
def test_j_and_f_tolerance_is_a_disk(shift):
    # At 120 x 160 the tolerance is 2 pixels: a disk and a square of that radius differ at the corners of the L.
    truth = np.zeros((1, 120, 160), bool)
    truth[0, 30:80, 40:90] = True
    truth[0, 30:50, 40:60] = False
    predicted = np.roll(truth, (shift, shift), axis=(1, 2))
    assert metrics.tolerance_px(120, 160) == 2
    assert_as_defined(predicted, truth)


def test_tolerance_px_of_common_sizes():
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
        (FULL, LEFT, 0.5, 0),  # a full mask has no contour
        (LEFT, LEFT, 1, 1),
        # LEFT's contour is its column 1 (4 pixels), ~LEFT's the same: J is 0, F is 1.
        (~LEFT, LEFT, 0, 1),
        # Contours: column 1 and row 1; tolerance 1. 3 of the 4 pixels of each are within 1 of the other.
        (LEFT, TOP, 4 / 12, 0.75),
        # DOT's contour: (0,0), (0,1), (1,0), (1,1); LAST's: (2,2), (2,3), (3,2). All distances are > 1.
        (DOT, LAST, 0, 0),
    ],
)
def test_j_and_f_4x4_masks_match_manual_values(predicted, truth, j, f):
    got_j, got_f = metrics.j_and_f(predicted[None], truth[None])
    assert got_j.tolist() == [pytest.approx(j)]
    assert got_f.tolist() == [pytest.approx(f)]


def test_j_and_f_uint8_equals_bool():
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, 3, 20, 30)) < 0.5
    expected = metrics.j_and_f(predicted, truth)
    got = metrics.j_and_f(predicted.astype(np.uint8) * 255, truth.astype(np.uint8) * 2)
    assert np.array_equal(got, expected)


def test_j_and_f_any_memory_order_scores_the_same():
    rng = np.random.default_rng(1)
    predicted, truth = rng.random((2, 2, 20, 30)) < 0.5
    flipped = metrics.j_and_f(np.asfortranarray(predicted), truth[..., ::-1][..., ::-1])
    assert np.array_equal(flipped, metrics.j_and_f(predicted, truth))


def test_j_and_f_without_frames_is_empty():
    j, f = metrics.j_and_f(np.zeros((0, 4, 4), bool), np.zeros((0, 4, 4), bool))
    assert j.shape == f.shape == (0,)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 5), (1, 4, 4)])
def test_j_and_f_different_shapes_raise(shape):
    with pytest.raises(ValueError, match="must have the same shape"):
        metrics.j_and_f(np.zeros(shape, bool), np.zeros((2, 4, 4), bool) if len(shape) == 3 else np.zeros(shape, bool))


SIZES = [(2, 2), (1, 1), (1, 200), (200, 1), (3, 64), (64, 3), (65, 127), (128, 128), (75, 100), (240, 426), (480, 854)]


@pytest.mark.parametrize(("height", "width"), [*SIZES, (1080, 1920)])
def test_j_and_f_every_size_matches_evaluator(height, width):
    """Empty, full, a pixel in each corner, disks inside and over every edge, dense and sparse noise."""
    rng = np.random.default_rng(height * 10_000 + width)
    shape, reach = (height, width), max(min(height, width) / 3, 1)
    masks = [np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5, rng.random(shape) < 0.002]
    masks += [disc(*shape, (height * y, width * x), reach) for y, x in ((0.5, 0.5), (0, 0.5), (1, 1), (0.52, 0.49))]
    corner = np.zeros(shape, bool)
    corner[-1, -1] = corner[0, 0] = True
    masks.append(corner)
    each = [(ours, true) for ours in masks for true in masks]
    pairs = each if height < 1000 else each[::11]
    predicted, truth = (np.stack(side) for side in zip(*pairs, strict=True))
    for start in range(0, len(pairs), 16):
        assert_as_evaluated(predicted[start : start + 16], truth[start : start + 16])


@settings(max_examples=60)
@given(st.data(), st.integers(1, 150), st.integers(1, 200))
def test_j_and_f_regions_of_any_size_match_evaluator(data, height, width):
    predicted, truth, void = (data.draw(rectangles(height, width))[None] for _ in range(3))
    assert_as_evaluated(predicted, truth)
    assert_as_evaluated(predicted, truth, void)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.integers(1, 200), st.sampled_from([0.001, 0.02, 0.5, 0.98]))
def test_j_and_f_noise_of_any_size_matches_evaluator(seed, height, width, share):
    predicted, truth, void = np.random.default_rng(seed).random((3, 2, height, width)) < share
    assert_as_evaluated(predicted, truth)
    assert_as_evaluated(predicted, truth, void)


def test_j_and_f_tolerance_above_64_pixels():
    # A diagonal of 8200 pixels has the tolerance 66, more than the maximum shift of 63; a thin frame keeps it fast.
    truth = np.zeros((1, 40, 8200), bool)
    truth[0, 10:30, 4000:4100] = True
    predicted = np.roll(truth, 64, axis=2)
    assert metrics.tolerance_px(40, 8200) == 66
    assert_as_evaluated(predicted, truth)


def test_j_and_f_void_is_excluded_from_both():
    void = DOT[None]
    assert [one.tolist() for one in metrics.j_and_f(EMPTY[None], DOT[None], void)] == [[1], [1]]
    j, _ = metrics.j_and_f(LEFT[None], (LEFT & ~DOT)[None], void.astype(np.uint8) * 9)
    assert j.tolist() == [1]


def test_masklets_j_and_f_merges_objects_of_chosen_frames():
    stack = np.zeros((2, 3, 4, 6), bool)
    stack[0, :, :2], stack[1, 1:, 1:3] = True, True
    truth, predicted = from_stacks(stack), from_stacks(stack[:1])
    j, f = metrics.masklets_j_and_f(predicted, truth)
    assert np.array_equal([j, f], metrics.j_and_f(stack[0], stack.any(axis=0)))
    assert j.tolist() == [1, 2 / 3, 2 / 3]
    assert metrics.masklets_j_and_f(predicted, truth, [2, 0])[0].tolist() == [2 / 3, 1]
    assert metrics.masklets_j_and_f(predicted, truth, [])[0].shape == (0,)
    assert metrics.areas(predicted, truth).tolist() == [[12, 12], [12, 18], [12, 18]]
    assert metrics.areas(predicted, truth, []).shape == (0, 2)


def test_masklets_j_and_f_no_objects_is_empty_mask():
    nothing, empty = Masklets((4, 4), 1, ()), from_stacks(EMPTY[None, None])
    assert [one.tolist() for one in metrics.masklets_j_and_f(nothing, empty)] == [[1], [1]]


@pytest.mark.parametrize("other", [Masklets((6, 4), 1, ()), Masklets((4, 4), 2, ())])
def test_masklets_j_and_f_different_sizes_raise(other):
    with pytest.raises(ValueError, match="must have the same size and number of frames"):
        metrics.masklets_j_and_f(Masklets((4, 4), 1, ()), other)


def test_j_and_f_float_masks_raise():
    with pytest.raises(ValueError, match="bool or uint8, not float64 and bool"):
        metrics.j_and_f(np.zeros((1, 4, 4)), EMPTY[None])
