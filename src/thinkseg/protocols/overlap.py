"""gIoU and cIoU, the figures of reasoning segmentation in pictures (LISA): areas in, a `Report` out."""

from __future__ import annotations

import numpy as np

from thinkseg.protocols import Report


def ious(intersections: np.ndarray, unions: np.ndarray) -> Report:
    """gIoU: mean of the samples' IoU. cIoU: sum of intersections over sum of unions, so that large objects weigh more.

    intersections, unions: pixels, (N,). An empty union is an IoU of 1 in gIoU: there is nothing, and nothing was
    predicted. Others count that differently (ViCaS 0). Raises ValueError if shapes differ.
    """
    both, either = np.asarray(intersections, np.float64), np.asarray(unions, np.float64)
    if both.shape != either.shape or both.ndim != 1:
        raise ValueError(f"there must be one intersection for each union: got shapes {both.shape} and {either.shape}")
    each = np.divide(both, either, out=np.ones_like(both), where=either > 0)
    return Report(
        "gIoU, cIoU (LISA): nothing predicted where there is nothing is 1",
        {
            "gIoU": float(100 * each.mean()) if len(each) else None,
            "cIoU": float(100 * both.sum() / either.sum()) if either.sum() > 0 else None,
        },
    )
