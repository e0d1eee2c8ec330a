"""Robustness R of ReVOS on two scales: masks of one expression in, one score a frame out; R is the mean over frames.

It is meant to be 1 - |wrongly predicted pixels| / |pixels of all annotated objects|, at least 0. It looks at
expressions with a target; no-target expressions do not enter it. For those see `thinkseg.protocols.means.no_target`.
"""

from __future__ import annotations

import numpy as np


def r_visa255(predicted: np.ndarray, num_true: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as published numbers came to be, float64 (T,).

    The evaluator of VISA reads predictions from pictures of 0 and 255, and computes (1 - truth) * prediction in bytes
    that wrap. So a wrongly predicted pixel weighs 255 and not 1, and R is near the share of frames with almost none. A
    predicted pixel that n > 1 true objects share weighs n - 1, although it is right.

    predicted, foreground: bool (T, H, W). num_true: uint8 (T, H, W), how many true objects each pixel belongs to.
    Raises ValueError if shapes differ.
    """
    _check(predicted, num_true, foreground)
    # (1 - n) * 255 is n - 1 modulo 256, for 255 is -1.
    weights = np.where(predicted != 0, num_true.astype(np.uint8) - np.uint8(1), np.uint8(0))
    return _robustness(weights, foreground)


def r_area(predicted: np.ndarray, truth: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as it is meant, every wrongly predicted pixel weighing 1: float64 (T,) from bool (T, H, W).

    Raises ValueError if shapes differ.
    """
    _check(predicted, truth, foreground)
    return _robustness((predicted != 0) & (truth == 0), foreground)


def _robustness(wrong: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    area = (foreground != 0).sum(axis=(1, 2), dtype=np.uint64)
    return np.maximum(1 - wrong.sum(axis=(1, 2), dtype=np.uint64) / (area + 1e-6), 0.0)


def _check(*videos: np.ndarray) -> None:
    if videos[0].ndim != 3 or any(video.shape != videos[0].shape for video in videos):
        shapes = ", ".join(str(video.shape) for video in videos)
        raise ValueError(f"predicted, true and foreground masks must share a shape (T, H, W): got {shapes}")
