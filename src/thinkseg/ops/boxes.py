"""Boxes: (N, 4) arrays of xyxy in pixels, x1 and y1 exclusive; overlap, clipping and one-to-one matching.

Coordinates are continuous: a box from 2 to 5 is 3 wide, there is no "+ 1" anywhere.
"""

from __future__ import annotations

import numpy as np


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (N, 4) with every box of `b` (M, 4), float64 (N, M).

    A box without area (or with its corners swapped) overlaps nothing: 0, even with itself.
    """
    first, second = _as_boxes(a)[:, None], _as_boxes(b)[None]
    lower = np.maximum(first[..., :2], second[..., :2])
    upper = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(upper - lower, 0, None).prod(axis=-1)
    union = _areas(first) + _areas(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def clip(boxes: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Boxes cut off at the frame's edges, same dtype and shape (N, 4). One wholly outside loses its area."""
    width, height = size_wh
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def match(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int, float]]:
    """The one-to-one matching of `a` (N, 4) to `b` (M, 4) with the largest total IoU (Hungarian, cost 1 - IoU).

    min(N, M) triples (row, column, iou) in the order of rows, those with IoU 0 included.
    """
    from scipy.optimize import linear_sum_assignment

    overlaps = iou_matrix(a, b)
    rows, columns = linear_sum_assignment(1 - overlaps)
    return [(int(row), int(column), float(overlaps[row, column])) for row, column in zip(rows, columns, strict=True)]


def mean_matched_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Sum of the matched IoUs over the larger number of boxes, in [0, 1]: a missed box costs as much as a surplus one.

    Veason-R1's spatial reward R_s (arXiv 2508.11538). Where one side has no box it is 0, and so it is where neither
    has: nothing was matched. What a rightly empty answer is worth is the caller's to say.
    """
    most = max(len(predicted), len(true))
    if most == 0:
        return 0.0
    return sum(overlap for _, _, overlap in match(predicted, true)) / most


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes as float64 (N, 4); an empty array of any shape is no boxes. Raises ValueError otherwise."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise ValueError(f"boxes must be finite numbers of shape (N, 4), not shape {array.shape}")
    return array


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes (..., 4); 0 where corners are swapped."""
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
