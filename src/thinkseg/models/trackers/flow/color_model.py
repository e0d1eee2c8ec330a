"""What an object's colours are, against what surrounds it.

In: colour cells (which of 16,384 cells of Lab space a pixel falls into) and masks. Out: per pixel evidence that a
colour belongs to the object, as a log ratio of two smoothed histograms.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

CELLS = (16, 32, 32)
"""Lightness is cut coarsely and hue finely: light and shade move lightness far more than hue."""

NUM_CELLS = CELLS[0] * CELLS[1] * CELLS[2]


def colour_cells(rgb: np.ndarray) -> np.ndarray:
    """Index of each pixel's Lab cell, int32 (h, w)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.int32)
    return ((lab[..., 0] >> 4) << 10) | ((lab[..., 1] >> 3) << 5) | (lab[..., 2] >> 3)


def histogram(cells: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Smoothed share of each cell, float32 (NUM_CELLS,), summing to 1, or to 0 where nothing was counted."""
    counts = np.bincount(cells.ravel(), None if weights is None else weights.ravel(), minlength=NUM_CELLS)
    total = counts.sum()
    if total <= 0:
        return np.zeros(NUM_CELLS, np.float32)
    cube = (counts / total).astype(np.float32).reshape(CELLS)
    return gaussian_filter(cube, sigma=(0.8, 0.7, 0.7), mode="nearest", truncate=3.0).ravel()


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Bhattacharyya coefficient of two histograms: 1 if they are the same, 0 if they share no colour."""
    return float(np.sqrt(first * second).sum())


class Colours:
    """Colour model of one object: how it looked when it was shown, how it looks now, and what lies around it.

    The first look is never forgotten, so that a slow slide onto another object cannot rewrite what is being followed.
    """

    def __init__(self, cells: np.ndarray, mask: np.ndarray, surround: np.ndarray) -> None:
        self.first = histogram(cells[mask])
        self.recent = self.first.copy()
        # Mostly what lies around it now, but it may move to anywhere in the picture.
        self.elsewhere = histogram(cells[~mask])
        self.around = histogram(cells[surround])
        self._refresh()

    def update(self, cells: np.ndarray, mask: np.ndarray, surround: np.ndarray, rate: float) -> None:
        """Moves the recent look and the surroundings towards the given pixels by `rate` (0..1)."""
        if mask.any():
            self.recent += rate * (histogram(cells[mask]) - self.recent)
        if surround.any():
            self.around += rate * (histogram(cells[surround]) - self.around)
        self._refresh()

    def _refresh(self) -> None:
        # A floor under both shares: a colour that neither side has shown is evidence for neither.
        floor = 2e-4
        other = 0.7 * self.around + 0.3 * self.elsewhere
        self._table = np.log((0.5 * (self.first + self.recent) + floor) / (other + floor)).astype(np.float32)

    def evidence(self, cells: np.ndarray) -> np.ndarray:
        """Log ratio per pixel scaled into -1..1, float32, same shape as cells."""
        return np.clip(self._table[cells] / 3.0, -1.0, 1.0)

    def likeness(self, cells: np.ndarray, mask: np.ndarray) -> float:
        """How much the colours under a mask are the object's own, 0..1."""
        seen = histogram(cells[mask])
        return max(overlap(seen, self.first), overlap(seen, self.recent))
