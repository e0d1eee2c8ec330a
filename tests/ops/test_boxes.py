"""IoU, clipping and matching of boxes against manual cases and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.ops import boxes

COORDINATE = st.integers(0, 12)
BOXES = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=5).map(
    lambda rows: np.array(rows, np.float32).reshape(-1, 4)
)


def pixels_of(box):
    """The pixels that a box with integer coordinates covers."""
    grid = np.zeros((12, 12), bool)
    x0, y0, x1, y1 = (int(side) for side in box)
    grid[y0:y1, x0:x1] = True
    return grid


def test_iou_matrix_coordinates_are_continuous():
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[1, 0, 3, 2], [2, 0, 4, 2], [0, 0, 2, 2], [0.5, 0.5, 1.5, 1.5]], np.float32)
    overlaps = boxes.iou_matrix(a, b)
    assert overlaps.dtype == np.float64
    assert overlaps == pytest.approx(np.array([[1 / 3, 0, 1, 1 / 4]]))


def test_iou_matrix_box_without_area_is_0():
    point, swapped, box = [1, 1, 1, 1], [3, 3, 1, 1], [0, 0, 4, 4]
    assert boxes.iou_matrix(np.array([point, swapped]), np.array([point, swapped, box])).tolist() == [[0] * 3] * 2


@given(BOXES, BOXES)
def test_iou_matrix_equals_iou_of_pixels(a, b):
    overlaps = boxes.iou_matrix(a, b)
    assert overlaps.shape == (len(a), len(b))
    for (i, first), (j, second) in itertools.product(enumerate(a), enumerate(b)):
        either = (pixels_of(first) | pixels_of(second)).sum()
        expected = (pixels_of(first) & pixels_of(second)).sum() / either if either else 0
        assert overlaps[i, j] == pytest.approx(expected)


@given(BOXES, BOXES)
def test_match_maximizes_total_iou(a, b):
    pairs = boxes.match(a, b)
    assert len(pairs) == min(len(a), len(b))
    assert len({row for row, _, _ in pairs}) == len({column for _, column, _ in pairs}) == len(pairs)
    overlaps = boxes.iou_matrix(a, b)
    assert all(overlap == overlaps[row, column] for row, column, overlap in pairs)
    if len(a) > len(b):
        overlaps = overlaps.T
    orders = itertools.permutations(range(overlaps.shape[1]), overlaps.shape[0])
    best = max(sum(overlaps[row, column] for row, column in enumerate(order)) for order in orders)
    assert sum(overlap for _, _, overlap in pairs) == pytest.approx(best)


def test_match_greedy_suboptimal_maximizes_total_iou():
    # A greedy matching gives row 0 the column 0, which leaves row 1 without overlap.
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32)
    b = np.array([[0, 0, 10, 9], [0, 3, 10, 13]], np.float32)
    assert [(row, column) for row, column, _ in boxes.match(a, b)] == [(0, 1), (1, 0)]


@given(BOXES, BOXES)
def test_mean_matched_iou_is_symmetric(a, b):
    score = boxes.mean_matched_iou(a, b)
    assert 0 <= score <= 1
    assert score == pytest.approx(boxes.mean_matched_iou(b, a))


def test_mean_matched_iou_divides_by_larger_count():
    one = np.array([[0, 0, 4, 4]], np.float32)
    two = np.array([[0, 0, 4, 2], [9, 9, 11, 11]], np.float32)
    none = np.zeros((0, 4), np.float32)
    assert boxes.mean_matched_iou(one, one) == 1
    assert boxes.mean_matched_iou(one, two) == pytest.approx(0.25)
    assert boxes.mean_matched_iou(two, one) == pytest.approx(0.25)
    assert boxes.mean_matched_iou(one, none) == boxes.mean_matched_iou(none, one) == 0
    assert boxes.mean_matched_iou(none, none) == 0


def test_mean_matched_iou_zero_boxes_is_0():
    absent = np.zeros((1, 4), np.float32)
    assert boxes.mean_matched_iou(absent, absent) == 0


def test_clip_box_outside_loses_area():
    wild = np.array([[-3, -4, 20, 5], [2, 3, 4, 5], [30, 30, 40, 40]], np.float32)
    clipped = boxes.clip(wild, (10, 8))
    assert clipped.dtype == np.float32
    assert clipped.tolist() == [[0, 0, 10, 5], [2, 3, 4, 5], [10, 8, 10, 8]]
    assert boxes.clip(wild[:0], (10, 8)).shape == (0, 4)
    assert wild[0, 0] == -3


@pytest.mark.parametrize("bad", [[1, 2, 3, 4], [[1, 2, 3]], [[0, 0, 1, np.nan]], [[0, 0, 1, np.inf]]])
def test_iou_matrix_invalid_boxes_raise(bad):
    with pytest.raises(ValueError, match="boxes must be finite numbers"):
        boxes.iou_matrix(np.array(bad, np.float64), np.zeros((0, 4)))
