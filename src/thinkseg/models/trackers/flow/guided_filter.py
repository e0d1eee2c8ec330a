"""Snapping soft masks to picture edges: a colour guided filter.

In: a guide picture float32 (h, w, 3) in 0..1 and a soft map float32 (h, w) of the same size. Out: the map redrawn as a
locally linear function of the guide's colours, at the guide's own size or, cheaply, at that of a larger guide.
Method: He, Sun and Tang, "Guided Image Filtering" (ECCV 2010), and "Fast Guided Filter" (2015) for the larger guide.
"""

from __future__ import annotations

import cv2
import numpy as np

Window = tuple[slice, slice]
"""Rows and columns of a picture; both ends are set."""


def guided_coefficients(guide: np.ndarray, soft: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Window-averaged linear coefficients float32 (h, w, 4): three slopes and an offset.

    radius: half the window in pixels. eps: colour variance (of the 0..1 range) below which edges are smoothed over.
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, cv2.CV_32F, window, borderType=cv2.BORDER_REFLECT)

    r, g, b = cv2.split(guide)
    products = mean(cv2.merge([r * r, r * g, r * b, g * g, g * b, b * b]))
    mean_guide, mean_soft = mean(guide), mean(soft)
    cross = mean(guide * soft[..., None]) - mean_guide * mean_soft[..., None]
    mr, mg, mb = cv2.split(mean_guide)
    rr, gg, bb = (products[..., i] - m * m + eps for i, m in ((0, mr), (3, mg), (5, mb)))
    rg, rb, gb = (products[..., i] - m * n for i, m, n in ((1, mr, mg), (2, mr, mb), (4, mg, mb)))
    # Inverse of the symmetric 3x3 colour covariance by cofactors: no per-pixel linear solver needed.
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    det = rr * c00 + rg * c01 + rb * c02
    xr, xg, xb = cv2.split(cross)
    slopes = cv2.merge(
        [
            (c00 * xr + c01 * xg + c02 * xb) / det,
            (c01 * xr + c11 * xg + c12 * xb) / det,
            (c02 * xr + c12 * xg + c22 * xb) / det,
        ]
    )
    offset = mean_soft - (slopes * mean_guide).sum(-1)
    return mean(np.dstack([slopes, offset]))


def apply_coefficients(coefficients: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """The filtered map float32 at the guide's size; smaller coefficients are enlarged first."""
    height, width = guide.shape[:2]
    if coefficients.shape[:2] != (height, width):
        coefficients = cv2.resize(coefficients, (width, height), interpolation=cv2.INTER_LINEAR)
    return (coefficients[..., :3] * guide).sum(-1) + coefficients[..., 3]


def as_guide(rgb: np.ndarray) -> np.ndarray:
    """uint8 RGB as float32 in 0..1."""
    return rgb.astype(np.float32) / 255.0


def sampled(layer: np.ndarray, places: np.ndarray, interpolation: int, outside: float = 0.0) -> np.ndarray:
    """Values of a layer (H, W) at float32 places (h, w, 2), x and y; `outside` beyond its edges."""
    columns, rows = cv2.split(places)
    return np.asarray(cv2.remap(layer, columns, rows, interpolation, borderValue=outside))


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the mask's edge, float32 (h, w): positive inside, negative outside, +-0.5 beside the edge.

    An empty or a full mask has no edge: everything is then as far out (or in) as the picture is large.
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
    """The outermost pixels of each part of a mask, int32 (N, 2), x and y; none of an empty one."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate(lines)[:, 0] if lines else np.zeros((0, 2), np.int32)


def crop_window(mask: np.ndarray, pad: int) -> Window | None:
    """Rows and columns around a mask with a margin, within its picture; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        slice(max(int(rows[0]) - pad, 0), min(int(rows[-1]) + 1 + pad, height)),
        slice(max(int(columns[0]) - pad, 0), min(int(columns[-1]) + 1 + pad, width)),
    )
