"""Color model of an object: a smoothed Lab histogram of the object against one of its surroundings."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

HISTOGRAM_BINS = (16, 32, 32)
"""Bins of L, a and b. Lightness is coarse because light and shade change it far more than hue."""

NUM_BINS = HISTOGRAM_BINS[0] * HISTOGRAM_BINS[1] * HISTOGRAM_BINS[2]

BIN_SMOOTHING = (0.8, 0.7, 0.7)
"""Standard deviation in bins of the Gaussian over a histogram. J x0.7: -0.25, x1.4: -0.15."""

SHARE_FLOOR = 2e-4
"""Added to the share of every bin: a color that neither side has shown is evidence for neither. J x0.7: -0.06, x1.4:
-0.04."""

SURROUND_WEIGHT = 0.7
"""Share of the near surroundings in the background histogram; the rest is the frame outside the object. J x0.7: -1.31,
x1.4: +0.13."""

EVIDENCE_RANGE = 3.0
"""Log ratio (natural) of object to background that counts as full evidence. J x0.7: -0.15, x1.4: +0.09."""


def ambiguity(clearness: float, limits: tuple[float, float]) -> float:
    """How much other cues than colors are needed, 0..1: 1 if colors are no clearer than the first limit, 0 from the
    second on.
    """
    low, high = limits
    return float(np.clip((high - clearness) / (high - low), 0, 1))


def color_bins(rgb: np.ndarray) -> np.ndarray:
    """Index of each pixel's Lab bin, int32 (h, w)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.int32)
    return ((lab[..., 0] >> 4) << 10) | ((lab[..., 1] >> 3) << 5) | (lab[..., 2] >> 3)


def histogram(bins: np.ndarray) -> np.ndarray:
    """Smoothed share of each bin, float32 (NUM_BINS,). The sum is 1, or 0 without pixels."""
    counts = np.bincount(bins.ravel(), minlength=NUM_BINS)
    total = counts.sum()
    if total <= 0:
        return np.zeros(NUM_BINS, np.float32)
    cube = (counts / total).astype(np.float32).reshape(HISTOGRAM_BINS)
    return gaussian_filter(cube, sigma=BIN_SMOOTHING, mode="nearest", truncate=3.0).ravel()


def log_ratio(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Natural log of the ratio of two histograms, per bin."""
    return np.log((first + SHARE_FLOOR) / (second + SHARE_FLOOR))


def histogram_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Bhattacharyya coefficient of two histograms: 1 if equal, 0 if disjoint."""
    return float(np.sqrt(first * second).sum())


class ColorModel:
    """Histograms of one object: on the keyframe, recently, and of its background.

    The keyframe's histogram never changes. A slow drift onto another object therefore cannot replace the model.
    """

    def __init__(self, bins: np.ndarray, mask: np.ndarray, surround: np.ndarray) -> None:
        self.initial = histogram(bins[mask])
        self.recent = self.initial.copy()
        self.outside = histogram(bins[~mask])
        self.surround = histogram(bins[surround])
        self._refresh()

    def update(self, bins: np.ndarray, mask: np.ndarray, surround: np.ndarray, rate: float) -> None:
        """Moves the recent histogram and that of the surroundings towards the given pixels by `rate` (0..1)."""
        if mask.any():
            self.recent += rate * (histogram(bins[mask]) - self.recent)
        if surround.any():
            self.surround += rate * (histogram(bins[surround]) - self.surround)
        self._refresh()

    def _refresh(self) -> None:
        # Mostly the near surroundings, but the object may move to anywhere in the frame.
        background = SURROUND_WEIGHT * self.surround + (1 - SURROUND_WEIGHT) * self.outside
        self._table = log_ratio(0.5 * (self.initial + self.recent), background)

    def evidence(self, bins: np.ndarray) -> np.ndarray:
        """Log ratio of object to background per pixel, scaled to -1..1, float32, same shape as bins."""
        return np.clip(self._table[bins] / EVIDENCE_RANGE, -1.0, 1.0)

    def similarity(self, bins: np.ndarray, mask: np.ndarray) -> float:
        """Overlap (0..1) of the colors under a mask with the object's initial or recent colors, the larger one."""
        visible = histogram(bins[mask])
        return max(histogram_overlap(visible, self.initial), histogram_overlap(visible, self.recent))
