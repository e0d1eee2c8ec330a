"""Color guided filter: redraws a soft mask as a locally linear function of an image's colors, so that edges align.

He, Sun and Tang, "Guided Image Filtering" (ECCV 2010); He and Sun, "Fast Guided Filter" (2015) for larger guides.
"""

from __future__ import annotations

import cv2
import numpy as np


def guided_coefficients(guide: np.ndarray, soft: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Window-averaged linear coefficients float32 (h, w, 4): three slopes and an offset.

    guide: float32 (h, w, 3) in 0..1. soft: float32 (h, w). radius: pixels, half of the window. eps: color variance
    below which edges are smoothed over.
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
    slopes = _solve_symmetric((rr, rg, rb, gg, gb, bb), cross)
    offset = mean_soft - (slopes * mean_guide).sum(-1)
    return mean(np.dstack([slopes, offset]))


def _solve_symmetric(matrix: tuple[np.ndarray, ...], right: np.ndarray) -> np.ndarray:
    """Solves a symmetric 3x3 system per pixel by cofactors, which is faster than a linear solver per pixel."""
    rr, rg, rb, gg, gb, bb = matrix
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    det = rr * c00 + rg * c01 + rb * c02
    xr, xg, xb = cv2.split(right)
    return cv2.merge(
        [
            (c00 * xr + c01 * xg + c02 * xb) / det,
            (c01 * xr + c11 * xg + c12 * xb) / det,
            (c02 * xr + c12 * xg + c22 * xb) / det,
        ]
    )


def apply_coefficients(coefficients: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """The filtered map, float32 (H, W), at the size of `guide` (H, W, 3); smaller coefficients are enlarged first."""
    height, width = guide.shape[:2]
    if coefficients.shape[:2] != (height, width):
        coefficients = cv2.resize(coefficients, (width, height), interpolation=cv2.INTER_LINEAR)
    return (coefficients[..., :3] * guide).sum(-1) + coefficients[..., 3]


def as_guide(rgb: np.ndarray) -> np.ndarray:
    """uint8 RGB as float32 in 0..1."""
    return rgb.astype(np.float32) / 255.0
