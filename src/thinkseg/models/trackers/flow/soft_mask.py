"""What an object claims of a picture: evidence for and against it in, a soft map with the picture's edges out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from thinkseg.models.trackers.flow.color_model import colour_cells
from thinkseg.models.trackers.flow.guided_filter import Window, apply_coefficients, as_guide, guided_coefficients


class Picture:
    """A frame at source size and at working size, with what every object needs of it computed once."""

    def __init__(self, rgb: np.ndarray, size_wh: tuple[int, int]) -> None:
        self.rgb = rgb
        small = rgb if rgb.shape[1::-1] == size_wh else cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
        self.small = small
        self.grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self.cells = colour_cells(small)


@dataclass(slots=True)
class Soft:
    """What an object claims in a window of the working picture.

    values: float32, positive = object, edges snapped to the picture. claim: how strongly, to settle disputes.
    coefficients: the filter that redraws `values` at source size.
    """

    window: Window
    values: np.ndarray
    claim: np.ndarray
    coefficients: np.ndarray


def snap(picture: Picture, window: Window, raw: np.ndarray, rigid: float = 0.0) -> Soft:
    """The summed evidence with its edge pulled to edges of the picture, unless a rigid silhouette drew it (0..1)."""
    guide = as_guide(picture.small[window])
    clipped = np.clip(raw, -1.5, 1.5).astype(np.float32)
    coefficients = guided_coefficients(guide, clipped, 3, 3e-3)
    kept = np.float32(np.clip(2 * rigid - 1, 0, 1))
    coefficients *= 1 - kept
    coefficients[..., 3] += kept * clipped
    return Soft(window, apply_coefficients(coefficients, guide), raw.astype(np.float32), coefficients)


def drop_strays(soft: Soft, expected: np.ndarray) -> Soft:
    """Removes parts that lie wholly where nothing of the object was expected, and specks."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((soft.values > 0).astype(np.uint8), connectivity=4)
    if count > 2:
        areas = stats[:, cv2.CC_STAT_AREA]
        inside = np.bincount(labels[expected], minlength=count)
        keep = (inside > 0.2 * areas) & (areas > 0.02 * areas[1:].max())
        soft.values[~keep[labels]] = -1.0
    return soft
