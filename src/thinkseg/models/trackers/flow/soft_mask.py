"""Soft masks: per-pixel evidence for an object, with edges aligned to the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from thinkseg.models.trackers.flow.color_model import color_bins
from thinkseg.models.trackers.flow.guided_filter import apply_coefficients, as_guide, guided_coefficients
from thinkseg.models.trackers.flow.mask_geometry import Window

EVIDENCE_LIMIT = 1.5
"""Summed evidence beyond this is clipped before filtering, so that one very sure pixel cannot move an edge. J x0.7:
+0.01, x1.4: -0.01."""

SNAP_RADIUS = 3
"""Working pixels, half of the guided filter's window: edges move by about this much at most. J x0.7: +0.01, x1.4:
-0.01."""

SNAP_EPS = 3e-3
"""Color variance (of the 0..1 range) below which the guided filter smooths over an edge. J x0.7 and x1.4: 0."""

MIN_EXPECTED_SHARE = 0.2
"""Share of a part that must lie where the object is expected; other parts are dropped. J x0.7 and x1.4: 0."""

SPECK_SHARE = 0.02
"""Parts smaller than this share of the largest part are dropped. J x0.7 and x1.4: 0."""


class ScaledFrame:
    """A frame at source size and at working size, with the maps that all objects share.

    rgb: uint8 (H, W, 3). small: uint8 (h, w, 3). gray: uint8 (h, w). bins: int32 (h, w), see `color_bins`.
    """

    def __init__(self, rgb: np.ndarray, size_wh: tuple[int, int]) -> None:
        self.rgb = rgb
        self.small = rgb if rgb.shape[1::-1] == size_wh else cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
        self.gray = cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)
        self.bins = color_bins(self.small)


@dataclass(slots=True)
class SoftMask:
    """Evidence for an object in a window of the working frame.

    values: float32 (h, w), positive for the object, edges aligned to the image. evidence: the same before alignment,
    which decides between objects. coefficients: guided filter that redraws `values` at source size.
    """

    window: Window
    values: np.ndarray
    evidence: np.ndarray
    coefficients: np.ndarray


def snap_to_edges(frame: ScaledFrame, window: Window, evidence: np.ndarray, rigidity: float = 0.0) -> SoftMask:
    """Aligns the edge of summed evidence to edges of the image.

    rigidity: 0..1. The edge of a rigid silhouette stays as drawn: above 0.5 less and less is aligned.
    """
    guide = as_guide(frame.small[window])
    clipped = np.clip(evidence, -EVIDENCE_LIMIT, EVIDENCE_LIMIT).astype(np.float32)
    coefficients = guided_coefficients(guide, clipped, SNAP_RADIUS, SNAP_EPS)
    unchanged = np.float32(np.clip(2 * rigidity - 1, 0, 1))
    coefficients *= 1 - unchanged
    coefficients[..., 3] += unchanged * clipped
    return SoftMask(window, apply_coefficients(coefficients, guide), evidence.astype(np.float32), coefficients)


def complete_mask(soft: SoftMask, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels for which the evidence speaks, in the complete frame, bool (h, w)."""
    mask = np.zeros(shape, bool)
    mask[soft.window] = soft.values > 0
    return mask


def drop_strays(soft: SoftMask, expected: np.ndarray) -> SoftMask:
    """Removes specks and parts that lie outside of `expected`, bool (h, w), in place."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((soft.values > 0).astype(np.uint8), connectivity=4)
    if count > 2:
        areas = stats[:, cv2.CC_STAT_AREA]
        inside = np.bincount(labels[expected], minlength=count)
        keep = (inside > MIN_EXPECTED_SHARE * areas) & (areas > SPECK_SHARE * areas[1:].max())
        soft.values[~keep[labels]] = -1.0
    return soft
