"""Finds a lost object again: near its last position, or where it appears from behind something."""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.camera_motion import EDGE_LEVEL, FULL_RELATIVE_SPEED, TYPICAL_PERCENTILE
from thinkseg.models.trackers.flow.mask_geometry import Window, crop_window, dilated, opened, padded, signed_distance
from thinkseg.models.trackers.flow.object_state import COLOR_WEIGHT, SEARCH_MARGIN, ObjectState, inside_and_rim
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, SoftMask, complete_mask, snap_to_edges

MIN_MATCH_RIGIDITY = 0.5
"""Rigidity that template matching of the silhouette needs. J x0.7 and x1.4: 0."""

MAX_MATCH_FRAMES = 3
"""Frames after the loss in which the silhouette is matched; later it may look different. J x0.7 and x1.4: 0."""

MATCH_REACH = 0.8
"""Distance from the last position that is matched, as a share of the object's size; the speed adds to it. J x0.7 and
x1.4: 0."""

MATCH_DISTRACTOR_WEIGHT = 0.5
"""Evidence taken from pixels of a distractor while the silhouette is matched. J x0.7 and x1.4: 0."""

MIN_MATCH_SCORE = 0.6
"""Score of a match, as a share of the pose score on the keyframe, from which the object counts as found. J x0.7 and
x1.4: 0."""

REDETECTED_BAND = 2.0
"""Working pixels over which the edge of a re-detected object is uncertain. J x0.7 and x1.4: 0."""

SLIVER_SHARE = 0.3
"""Share of the object's area below which a part next to a distractor counts as the distractor's own edge. J x0.7 and
x1.4: 0."""

MIN_REDETECTED_PIXELS = 6.0
"""Smallest part, in working pixels, that can be the object."""

MIN_REDETECTED_SHARE, MAX_REDETECTED_SHARE = 0.04, 1.8
"""Area of a part that can be the object, as a share of the object's area. J of MIN_REDETECTED_SHARE x0.7 and x1.4: 0;
of MAX_REDETECTED_SHARE x0.7 and x1.4: 0."""

MIN_REDETECTION_SCORE = 0.45
"""Score (0..1) from which a part counts as the object. J x0.7 and x1.4: 0."""

MIN_REDETECTION_CONFIDENCE = 0.75
"""Confidence from which what is found can be the object: more than that at which the object is given up. Of seven real
objects (docs/real.md), 0.7 makes 68 frames wrong instead of 55, and 0.8 makes 52 wrong."""

REDETECTION_REACH = 1.2
"""Distance from the predicted position at which a score falls to 0.6 of itself, as a share of the object's size. J x0.7
and x1.4: 0."""

SPEED_REACH = 2.0
"""Frames of motion at the last speed that add to this distance. J x0.7 and x1.4: 0."""

DRIFT_REACH, SPEED_DRIFT_REACH = 2.0, 0.5
"""Working pixels, and share of the last speed, that add to this distance per hidden frame. J of DRIFT_REACH x0.7 and
x1.4: 0; of SPEED_DRIFT_REACH x0.7 and x1.4: 0."""


def redetect(state: ObjectState, frame: ScaledFrame, speed: np.ndarray) -> SoftMask | None:
    """Soft mask of a lost object, whose silhouette then has its new pose; None if it is not found.

    speed: float32 (h, w), of every pixel against the camera.
    """
    return _match_silhouette(state, frame) or _search_parts(state, frame, speed)


def _match_silhouette(state: ObjectState, frame: ScaledFrame) -> SoftMask | None:
    """Matches a rigid silhouette around its position just after the object was lost, as by a sudden bounce."""
    silhouette = state.silhouette
    if state.rigidity < MIN_MATCH_RIGIDITY or state.frames_hidden > MAX_MATCH_FRAMES:
        return None
    reach = int(MATCH_REACH * np.sqrt(silhouette.current_area()) + silhouette.speed) + 2
    left, top, right, bottom = (int(side) for side in silhouette.bounds(silhouette.pose, 7))
    inside, rim = inside_and_rim(silhouette.distance((slice(top, bottom), slice(left, right))))
    if not inside.any() or not rim.any():
        return None
    kernel = inside / np.float32(inside.sum()) - rim / np.float32(rim.sum())
    field = state.colors.evidence(frame.bins) - MATCH_DISTRACTOR_WEIGHT * state.distractors
    field = padded(field, (slice(top - reach, bottom + reach), slice(left - reach, right + reach)))
    scores = cv2.matchTemplate(field, kernel.astype(np.float32), cv2.TM_CCORR)
    _, score, _, (column, row) = cv2.minMaxLoc(scores)
    if score < MIN_MATCH_SCORE * state.reference_score:
        return None
    pose = silhouette.pose + np.array([column - reach, row - reach, 0.0, 0.0])
    window = state.window(None, pose)
    if window is None:
        return None
    soft = _redetected(state, frame, window, silhouette.distance(window, pose))
    if not state.is_confident(frame, complete_mask(soft, state.mask.shape), MIN_REDETECTION_CONFIDENCE):
        return None
    silhouette.pose = pose
    return soft


def _search_parts(state: ObjectState, frame: ScaledFrame, speed: np.ndarray) -> SoftMask | None:
    """Scores all parts that look like the object and are new or move as it did; stores those next to a distractor."""
    similar = state.similar_pixels(frame)
    new = opened(similar & (1 - state.distractors) | _moving_pixels(state, frame, speed))
    count, labels, stats, centers = cv2.connectedComponentsWithStats(new, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    complete = state.silhouette.current_area()
    # Only a part of some size can have appeared from behind a distractor.
    beside = dilated(state.distractors, 1)
    sliver = (np.bincount(labels[beside > 0], minlength=count) > 0) & (areas < SLIVER_SHARE * complete)
    sliver[0] = False
    state.distractors = similar & (state.distractors | sliver[labels])
    least = max(MIN_REDETECTED_PIXELS, MIN_REDETECTED_SHARE * complete)
    best, best_score = 0, 0.0
    for part in range(1, count):
        if sliver[part] or not least < areas[part] < MAX_REDETECTED_SHARE * complete:
            continue
        score = _score(state, frame, labels == part, centers[part])
        if score > best_score:
            best, best_score = part, score
    return _reacquire(state, frame, labels == best) if best_score > MIN_REDETECTION_SCORE else None


def _score(state: ObjectState, frame: ScaledFrame, part: np.ndarray, center: np.ndarray) -> float:
    """0..1: similarity of a part's colors to the object's, times its closeness to the predicted position."""
    silhouette = state.silhouette
    reach = REDETECTION_REACH * np.sqrt(silhouette.current_area()) + SPEED_REACH * silhouette.speed
    reach = reach + (DRIFT_REACH + SPEED_DRIFT_REACH * silhouette.speed) * state.frames_hidden
    distance = float(np.hypot(*(center - silhouette.center))) / reach
    if not state.is_confident(frame, part, MIN_REDETECTION_CONFIDENCE):
        return 0.0
    return state.colors.similarity(frame.bins, part) * float(np.exp(-0.5 * distance**2))


def _moving_pixels(state: ObjectState, frame: ScaledFrame, speed: np.ndarray) -> np.ndarray:
    """Pixels, uint8 (h, w), that are not unlike the object and move against the camera as it did; none if it rested."""
    if state.relative_speed < FULL_RELATIVE_SPEED:
        return np.zeros(speed.shape, np.uint8)
    fast = speed > np.percentile(speed, TYPICAL_PERCENTILE) + EDGE_LEVEL * state.relative_speed
    return (fast & (state.colors.evidence(frame.bins) > 0)).astype(np.uint8)


def _reacquire(state: ObjectState, frame: ScaledFrame, part: np.ndarray) -> SoftMask | None:
    """Fits the silhouette to the part, from its predicted pose and from the part's center; colors draw the outline."""
    window = crop_window(part, SEARCH_MARGIN)
    if window is None:
        return None
    silhouette = state.silhouette
    ys, xs = np.nonzero(part)
    outline = state.own_outline(part[window], window)
    centered = silhouette.pose.copy()
    centered[:2] = xs.mean(), ys.mean()
    poses = [silhouette.fitted(start, outline, steps=8, free=3) for start in (silhouette.pose, centered)]
    silhouette.pose = max(poses, key=lambda pose: _iou(state, part, pose))
    return _redetected(state, frame, window, signed_distance(part[window]))


def _redetected(state: ObjectState, frame: ScaledFrame, window: Window, distance: np.ndarray) -> SoftMask:
    """Soft mask of colors and of a signed distance to the re-detected outline in a window."""
    shape = np.clip(distance / REDETECTED_BAND, -1, 1)
    return snap_to_edges(frame, window, shape + COLOR_WEIGHT * state.colors.evidence(frame.bins[window]))


def _iou(state: ObjectState, part: np.ndarray, pose: np.ndarray) -> float:
    """Intersection over union of a part, bool (h, w), with the posed silhouette."""
    posed = state.silhouette.distance((slice(0, part.shape[0]), slice(0, part.shape[1])), pose) > 0
    return float((posed & part).sum()) / float((posed | part).sum())
