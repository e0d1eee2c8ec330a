"""Motion against the camera's own: how fast each pixel moves other than the background does.

The background is taken for a plane, or far away: a homography, fitted by RANSAC to the optical flow outside of the
objects, is the camera's motion. What the flow has beyond it is the speed of things, and of what is near the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

GRID_STEP = 12
"""Working pixels between the points to which the homography is fitted; for speed."""

CAMERA_THRESHOLD = 1.0
"""Working pixels by which a point may miss the camera's motion and still be background."""

RANSAC_STEPS = 200
"""Largest number of samples of four points; for speed."""

TYPICAL_PERCENTILE = 70
"""Percentile of the speeds of a mask, and of its surroundings, that is compared."""

EDGE_LEVEL = 0.6
"""Speed of an object's edge, between that of the surroundings (0) and its own (1). On nine real objects
(docs/real.md), J x0.7: -2.55, x1.4: -2.97."""

EVIDENCE_SPAN = 0.5
"""Share of the difference of the two speeds, on both sides of that level, over which evidence rises from 0 to 1."""

MIN_RELATIVE_SPEED, FULL_RELATIVE_SPEED = 0.3, 1.0
"""Working pixels per frame between object and surroundings: motion is no cue below the first, a full one from the
second on."""


@dataclass(slots=True)
class MotionCue:
    """Evidence of motion for an object.

    evidence: float32 (h, w), 1 where pixels move as fast as the object, -1 where as the surroundings.
    reliability: 0..1, how clearly the object moves against its surroundings.
    difference: working pixels per frame by which the object is faster.
    """

    evidence: np.ndarray
    reliability: float
    difference: float


def speed_against_camera(source_map: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Working pixels per frame by which each pixel moves against the camera, float32 (h, w); 0 if that is unknown.

    source_map: float32 (h, w, 2), for every pixel its position (x, y) in another frame. objects: bool (h, w), pixels
    that do not show the camera's motion.
    """
    height, width = objects.shape
    rows, columns = (axis.ravel() for axis in np.mgrid[0:height:GRID_STEP, 0:width:GRID_STEP])
    free = ~objects[rows, columns]
    points = np.stack([columns, rows], 1)[free].astype(np.float32)
    camera = None
    if len(points) >= 4:
        moved = source_map[rows[free], columns[free]]
        camera, _ = cv2.findHomography(points, moved, cv2.RANSAC, CAMERA_THRESHOLD, maxIters=RANSAC_STEPS)
    if camera is None:
        return np.zeros((height, width), np.float32)
    x, y, scale = (_plane(row, width, height) for row in camera.astype(np.float32))
    return cv2.magnitude(source_map[..., 0] - x / scale, source_map[..., 1] - y / scale)


def _plane(row: np.ndarray, width: int, height: int) -> np.ndarray:
    """One row of a homography, applied to all pixels, float32 (h, w)."""
    a, b, c = row
    return a * np.arange(width, dtype=np.float32) + (b * np.arange(height, dtype=np.float32) + c)[:, None]


def motion_cue(speed: np.ndarray, inside: np.ndarray, percentile: float = TYPICAL_PERCENTILE) -> MotionCue:
    """Evidence for what moves like the pixels `inside`, bool (h, w), and not like the others.

    speed: float32 (h, w), see `speed_against_camera`. percentile: of the speeds inside that is the object's.
    """
    if inside.all() or not inside.any():
        return MotionCue(np.zeros(speed.shape, np.float32), 0.0, 0.0)
    own = float(np.percentile(speed[inside], percentile))
    other = float(np.percentile(speed[~inside], TYPICAL_PERCENTILE))
    span = max(own - other, MIN_RELATIVE_SPEED)
    evidence = (speed - (other + EDGE_LEVEL * span)) / (EVIDENCE_SPAN * span)
    reliability = (own - other - MIN_RELATIVE_SPEED) / (FULL_RELATIVE_SPEED - MIN_RELATIVE_SPEED)
    return MotionCue(np.clip(evidence, -1, 1), float(np.clip(reliability, 0, 1)), own - other)
