"""Distances, outlines, bounding windows and sampling of masks and maps."""

from __future__ import annotations

import cv2
import numpy as np

Window = tuple[slice, slice]
"""Rows and columns of an image; both ends are set."""


def sampled(layer: np.ndarray, points: np.ndarray, interpolation: int, outside: float = 0.0) -> np.ndarray:
    """Values of a layer (H, W) at points float32 (h, w, 2), x and y; `outside` beyond its edges."""
    columns, rows = cv2.split(points)
    return np.asarray(cv2.remap(layer, columns, rows, interpolation, borderValue=outside))


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the mask's edge, float32 (h, w): positive inside, negative outside, +-0.5 next to the edge.

    An empty or full mask has no edge: all values are then -(h + w) or h + w.
    """
    inside = mask.astype(np.uint8)
    far = float(sum(mask.shape))
    if not inside.any():
        return np.full(mask.shape, -far, np.float32)
    if inside.all():
        return np.full(mask.shape, far, np.float32)
    inner = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    outer = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    return np.where(mask, inner - 0.5, 0.5 - outer).astype(np.float32)


def outline_points(mask: np.ndarray) -> np.ndarray:
    """The outermost pixels of each part of a mask, int32 (N, 2), x and y; N is 0 for an empty mask."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate(lines)[:, 0] if lines else np.zeros((0, 2), np.int32)


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    """A mask bool or uint8 (h, w) grown by a square of 2 * radius + 1 pixels, uint8."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))


def opened(mask: np.ndarray) -> np.ndarray:
    """A mask uint8 (h, w) without parts narrower than 3 pixels."""
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a mask with at least one pixel, ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def crop_window(mask: np.ndarray, pad: int) -> Window | None:
    """Rows and columns around a mask with a margin of `pad` pixels, within its image; None for an empty mask."""
    if not mask.any():
        return None
    top, bottom, left, right = extent(mask)
    height, width = mask.shape
    return slice(max(top - pad, 0), min(bottom + pad, height)), slice(max(left - pad, 0), min(right + pad, width))


def padded(field: np.ndarray, window: Window) -> np.ndarray:
    """A window of a map (h, w) that may reach beyond its edges, float32; 0 there."""
    height, width = field.shape
    rows, columns = window
    cut = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = max(rows.start, 0), max(columns.start, 0)
    part = field[top : max(min(rows.stop, height), top), left : max(min(columns.stop, width), left)]
    cut[top - rows.start :, left - columns.start :][: part.shape[0], : part.shape[1]] = part
    return cut
