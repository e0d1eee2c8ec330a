"""Robustness R of ReVOS on two scales: pixels of each frame of an expression in, a score a frame out; R is their mean.

It is meant to be 1 - |wrongly predicted pixels| / |pixels of all annotated objects|, at least 0. It looks at
expressions with a target; no-target expressions do not enter it, for which there is N-acc.
"""

from __future__ import annotations

import numpy as np


def r_visa255(outside: np.ndarray, surplus: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as published numbers came to be, float64 (T,).

    The evaluator of VISA reads predictions from pictures of 0 and 255, and computes (1 - truth) * prediction in bytes
    that wrap. So a wrongly predicted pixel weighs 255 and not 1, and R is near the share of frames with almost none. A
    predicted pixel that n > 1 true objects share weighs n - 1, although it is right: (1 - n) * 255 is n - 1 modulo 256,
    for 255 is -1. (It wraps once more where more than 255 objects share a pixel, which is not followed.)

    All int64 (T,), in pixels. outside: predicted outside every true object. surplus: over the predicted pixels inside,
    the number of true objects that a pixel belongs to, less one. foreground: inside any annotated object.
    """
    return _robustness(255 * outside + surplus, foreground)


def r_area(outside: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as it is meant, every wrongly predicted pixel weighing 1: float64 (T,), arguments as above."""
    return _robustness(outside, foreground)


def _robustness(wrong: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    return np.maximum(1 - wrong / (foreground + 1e-6), 0.0)
