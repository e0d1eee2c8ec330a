"""IoU, clipping and one-to-one matching of boxes: arrays (N, 4), xyxy in pixels.

Coordinates are continuous: a box from 2 to 5 is 3 wide, without "+ 1".
"""

from __future__ import annotations

import numpy as np


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the pairwise IoU of boxes `a` (N, 4) and `b` (M, 4), float64 (N, M).

    A box without area, or with swapped corners, has IoU 0 with every box, also with itself.
    """
    first, second = _as_boxes(a)[:, None], _as_boxes(b)[None]
    lower = np.maximum(first[..., :2], second[..., :2])
    upper = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(upper - lower, 0, None).prod(axis=-1)
    union = _areas(first) + _areas(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def clip(boxes: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Clips boxes to the frame, same dtype and shape (N, 4). A box outside the frame gets area 0."""
    width, height = size_wh
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def match(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int, float]]:
    """Matches `a` (N, 4) to `b` (M, 4) one to one with the largest total IoU (Hungarian, cost 1 - IoU).

    Returns min(N, M) triples (row, column, iou), ordered by row. Pairs with IoU 0 are included.
    """
    from scipy.optimize import linear_sum_assignment

    overlaps = iou_matrix(a, b)
    rows, columns = linear_sum_assignment(1 - overlaps)
    return [(int(row), int(column), float(overlaps[row, column])) for row, column in zip(rows, columns, strict=True)]


def mean_matched_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Returns the sum of the matched IoUs divided by the larger number of boxes, in [0, 1].

    This is the spatial reward R_s of Veason-R1 (arXiv 2508.11538, section 3.3). It is 0 if either side has no boxes,
    also if both have none: callers score a correct empty answer themselves.
    """
    larger = max(len(predicted), len(true))
    if larger == 0:
        return 0.0
    return sum(overlap for _, _, overlap in match(predicted, true)) / larger


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes as float64 (N, 4). An empty array of any shape means no boxes. Raises ValueError otherwise."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise ValueError(f"boxes must be finite numbers of shape (N, 4), not of shape {array.shape}")
    return array


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Returns the areas of boxes (..., 4); 0 for swapped corners."""
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
