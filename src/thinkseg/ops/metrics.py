"""Region similarity J and contour accuracy F of DAVIS 2017, bit for bit: two mask videos in, two arrays out.

J is the intersection over union of the regions. F is the F-measure of the contours, where a contour pixel counts as
found if the other contour passes within 0.8 % of the frame's diagonal (Perazzi et al., CVPR 2016; Pont-Tuset et al.,
arXiv 1704.00675). The definition has corners that matter for comparing numbers: two empty masks score 1 in both; the
contour lies between a pixel and its right, lower and lower-right neighbours, so the frame's own edge is never contour
and a full mask has none: F is 1 between a full and an empty mask while J is 0.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

TOLERANCE = 0.008
"""Distance within which contours agree, as a share of the frame's diagonal; rounded up to whole pixels."""


def j_and_f(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """J and F of each frame, float64 (T,) each, of bool or uint8 (T, H, W) videos; anything but 0 is inside.

    The score of an expression is the mean over all its frames; several objects are merged before scoring.
    Raises ValueError if the shapes differ or are not (T, H, W).
    """
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"masks to compare must share a shape (T, H, W): got {predicted.shape} and {truth.shape}")
    scores = [_score_frame(_binary(ours), _binary(true)) for ours, true in zip(predicted, truth, strict=True)]
    j, f = np.array(scores, np.float64).reshape(-1, 2).T
    return j, f


def tolerance_px(height: int, width: int) -> int:
    """Distance in pixels within which two contours agree in a frame of this size: 8 at 480p, 18 at 1080p."""
    return math.ceil(TOLERANCE * math.sqrt(height**2 + width**2))


def _score_frame(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """J and F of one frame of uint8 0/1 masks (H, W)."""
    either = predicted | truth
    union = cv2.countNonZero(either)
    if union == 0:
        return 1.0, 1.0
    j = cv2.countNonZero(predicted & truth) / union
    area = _surroundings(either)
    return j, _contour_accuracy(_contour(predicted[area]), _contour(truth[area]), tolerance_px(*truth.shape))


def _surroundings(mask: np.ndarray) -> tuple[slice, slice]:
    """The part of the frame that holds all contours: the mask's box and one pixel around it, where there is one.

    Exact, because contours begin at most one pixel before the mask, and dilation is only ever read where the other
    contour is. The pixel after the mask keeps the rules for the frame's edge away from what is not the frame's edge.
    """
    x, y, width, height = cv2.boundingRect(mask)
    return slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)


def _contour(mask: np.ndarray) -> np.ndarray:
    """Pixels of a 0/1 mask that differ from their right, lower or lower-right neighbour inside the frame, uint8 0/1."""
    contour = np.zeros_like(mask)
    contour[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    contour[:-1] |= mask[:-1] ^ mask[1:]
    contour[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return contour


def _contour_accuracy(predicted: np.ndarray, truth: np.ndarray, tolerance: int) -> float:
    """F of two contours, uint8 0/1 (H, W), that agree within `tolerance` pixels."""
    num_predicted, num_true = cv2.countNonZero(predicted), cv2.countNonZero(truth)
    if num_predicted == 0 or num_true == 0:
        return float(num_predicted == num_true)
    disk = _disk(tolerance)
    precision = cv2.countNonZero(predicted & cv2.dilate(truth, disk)) / num_predicted
    recall = cv2.countNonZero(truth & cv2.dilate(predicted, disk)) / num_true
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=16)
def _disk(radius: int) -> np.ndarray:
    """All pixels within `radius` of the centre, uint8 0/1 (2 radius + 1, 2 radius + 1)."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _binary(mask: np.ndarray) -> np.ndarray:
    """A mask of any of the accepted types as contiguous uint8 0/1."""
    return np.ascontiguousarray(mask != 0).view(np.uint8)
