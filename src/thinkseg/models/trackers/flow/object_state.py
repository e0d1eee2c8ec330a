"""State of one tracked object, and the measurements on a frame that tracking and re-detection share."""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.color_model import ColorModel, ambiguity, histogram, histogram_overlap
from thinkseg.models.trackers.flow.mask_geometry import Window, crop_window, dilated, opened, signed_distance
from thinkseg.models.trackers.flow.silhouette import Silhouette, outline_of
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame

COLOR_WEIGHT = 0.8
"""Weight of color evidence (-1..1); that of the carried mask (-1..1) is 1. J x0.7: +0.11, x1.4: -0.17."""

DISTRACTOR_WEIGHT = 0.8
"""Evidence taken from pixels of a distractor. J x0.7: 0, x1.4: +0.01."""

SIMILAR_COLOR = 0.3
"""Color evidence (-1..1) above which a pixel looks like the object. J x0.7: 0, x1.4: -0.01."""

INITIAL_RIGIDITY = 0.8
"""Rigidity (0..1) of an object on the keyframe. J x0.7: -0.85, x1.4: +0.19."""

MIN_COLOR_FIT, MIN_POSE_SCORE = 0.1, 0.2
"""Lower limits of the keyframe's color evidence and pose score, to which later frames are compared."""

WIDE_BAND = 5.0
"""Working pixels over which the carried edge is uncertain when an outline is to correct the pose: the outline must not
merely repeat the mask that the pose drew before. J x0.7: +0.08, x1.4: -0.05."""

CALIBRATION_REACH = 4
"""Working pixels around the keyframe's mask in which the outline of the evidence is measured. J x0.7 and x1.4: 0."""

SEARCH_MARGIN = 10
"""Working pixels around the expected object that are processed. J x0.7: +0.01, x1.4: -0.01."""

RIM = 6
"""Working pixels around a silhouette whose colors are compared with those inside. J x0.7 and x1.4: 0."""

SURROUND_SHARE, SURROUND_LIMITS = 0.5, (6, 40)
"""Width of the ring of surroundings: share of the object's size (square root of its area), limits in working pixels. J
of SURROUND_SHARE x0.7: +0.13, x1.4: -1.32."""


CLEAR_FIT = (0.7, 0.8)
"""Color evidence on the keyframe (-1..1) up to which motion fully counts, and from which on it does not. Objects of the
shapes world have 0.82 to 0.96, of 18 real objects 17 have 0.31 to 0.68."""

NO_SIMILARITY, FULL_SIMILARITY = 0.6, 0.96
"""Overlap of a mask's colors with the keyframe's (0..1) at which the confidence is 0, and 1."""

SMALLER_ALLOWANCE = 0.1
"""Added to that overlap for an object of no area against the keyframe's: less of an object shows fewer colors."""

TENURE_RATE = 0.2
"""Rate per frame at which a pixel that has joined the mask becomes a settled one: half of it after three frames. On
nine real objects (docs/real.md), J x0.7: -0.61, x1.4: 0."""


class ObjectState:
    """State of one object on the way through the frames in one direction.

    mask: bool (h, w), at working size. rigidity: 0..1, how far the object moves as a rigid silhouette. age: frames
    tracked. frames_hidden: since the object was last visible. near_distractor: whether something of its colors is next
    to it. tenure: float32 (h, w), 0..1, how long each pixel has been the object's: 1 on the keyframe and where the
    object is found again. distractors: uint8 (h, w), pixels that look like the object and are not part of it.
    reference_fit, reference_score: color evidence and pose score on the keyframe. ambiguity: 0..1, how little these
    colors tell. confidence: 0..1, how sure it is that the last mask is the object. relative_speed: working pixels per
    frame by which the object was faster than its surroundings, against the camera.
    """

    def __init__(self, frame: ScaledFrame, mask: np.ndarray) -> None:
        self.mask = mask
        self.tenure = mask.astype(np.float32)
        self.confidence = 1.0
        self.relative_speed = 0.0
        self.silhouette = Silhouette(mask)
        self.rigidity = INITIAL_RIGIDITY
        self.largest = self.keyframe_area = float(mask.sum())
        self.age = 0
        self.frames_hidden = 0
        self.near_distractor = False
        self.colors = ColorModel(frame.bins, mask, surround(mask))
        self.reference_fit = max(float(self.colors.evidence(frame.bins[mask]).mean()), MIN_COLOR_FIT)
        self.ambiguity = ambiguity(self.reference_fit, CLEAR_FIT)
        self.reference_score = max(self.pose_score(frame, self.silhouette.pose), MIN_POSE_SCORE)
        self.distractors = np.zeros(mask.shape, np.uint8)
        self.distractors = self.find_distractors(frame, mask)
        self.calibrate(frame)

    def calibrate(self, frame: ScaledFrame) -> None:
        """Measures how far the edge of the evidence is from that of the silhouette, as beyond a dark outline."""
        complete = slice(0, self.mask.shape[0]), slice(0, self.mask.shape[1])
        evidence = self.colors.evidence(frame.bins)
        free = self.mask_and_color_evidence(evidence, signed_distance(self.mask), complete, WIDE_BAND) > 0
        near = self.silhouette.distance(complete) > -CALIBRATION_REACH
        self.silhouette.calibrate(self.own_outline(free & near, complete))

    def mask_and_color_evidence(
        self, evidence: np.ndarray, carried: np.ndarray, window: Window, band: float
    ) -> np.ndarray:
        """Evidence of the carried mask and of colors in a window, without that of the silhouette, float32.

        evidence: of the colors in the window. carried: signed distance to the carried mask (h, w). band: working pixels
        over which the carried edge is uncertain; the wider, the more colors alone decide on the edge.
        """
        distance = np.clip(carried[window] / band, -1, 1)
        return distance + COLOR_WEIGHT * evidence - DISTRACTOR_WEIGHT * self.distractors[window]

    def own_outline(self, free: np.ndarray, window: Window) -> np.ndarray:
        """Edge points (N, 2) of a mask in a window, without the frame's border and the border to a distractor."""
        points = outline_of(free, window)
        x, y = points[:, 0], points[:, 1]
        height, width = self.mask.shape
        inner = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
        points = points[inner]
        at = points.astype(int)
        distractor = dilated(self.distractors[window], 2)
        return points[distractor[at[:, 1] - window[0].start, at[:, 0] - window[1].start] == 0]

    def pose_score(self, frame: ScaledFrame, pose: np.ndarray) -> float:
        """Mean color evidence inside a posed silhouette minus that in its rim, -2..2."""
        window = self.window(None, pose)
        if window is None:
            return -2.0
        distance = self.silhouette.distance(window, pose)
        evidence = self.colors.evidence(frame.bins[window])
        inside, rim = inside_and_rim(distance)
        if not inside.any() or not rim.any():
            return -2.0
        return float(evidence[inside].mean() - evidence[rim].mean())

    def window(self, visible: np.ndarray | None, pose: np.ndarray) -> Window | None:
        """The part of the frame around visible pixels and the posed silhouette; None if that is outside the frame."""
        height, width = self.mask.shape
        left, top, right, bottom = self.silhouette.bounds(pose, 2)
        around = None if visible is None else crop_window(visible, SEARCH_MARGIN)
        if around is not None:
            left, right = min(left, around[1].start), max(right, around[1].stop)
            top, bottom = min(top, around[0].start), max(bottom, around[0].stop)
        left, top = max(int(left), 0), max(int(top), 0)
        right, bottom = min(int(np.ceil(right)), width), min(int(np.ceil(bottom)), height)
        if right - left < 1 or bottom - top < 1:
            return None
        return slice(top, bottom), slice(left, right)

    def confidence_of(self, frame: ScaledFrame, mask: np.ndarray) -> float:
        """How sure it is that a mask, bool (h, w), is the object, 0..1: its colors are those of the keyframe.

        Measured on real clips, neither the share of points that return by forward and backward flow nor the agreement
        of the flow with the image tells a lost object: the ground that a lost mask rests on returns best of all.
        """
        area = int(mask.sum())
        if not area:
            return 0.0
        similarity = histogram_overlap(histogram(frame.bins[mask]), self.colors.initial)
        similarity += SMALLER_ALLOWANCE * (1 - min(area / self.keyframe_area, 1.0))
        return float(np.clip((similarity - NO_SIMILARITY) / (FULL_SIMILARITY - NO_SIMILARITY), 0, 1))

    def is_confident(self, frame: ScaledFrame, mask: np.ndarray, least: float) -> bool:
        """Whether a mask has at least a confidence. Clear colors need no such test: their evidence is one."""
        return not self.ambiguity or self.confidence_of(frame, mask) >= least

    def settle(self, mask: np.ndarray) -> None:
        """Raises the tenure of the pixels of a mask, bool (h, w), by one frame, and ends that of all others."""
        self.tenure = np.where(mask, self.tenure + TENURE_RATE * (1 - self.tenure), 0)

    def settled_share(self, mask: np.ndarray) -> float:
        """How much of a mask, bool (h, w), descends along the flow from the masks of some frames ago, 0..1.

        It is low if the mask has moved onto something else, which may have the object's colors.
        """
        return float(self.tenure[mask].mean()) if mask.any() else 0.0

    def similar_pixels(self, frame: ScaledFrame) -> np.ndarray:
        """Pixels of the object's colors, uint8 (h, w), without specks."""
        return opened((self.colors.evidence(frame.bins) > SIMILAR_COLOR).astype(np.uint8))

    def find_distractors(self, frame: ScaledFrame, mask: np.ndarray) -> np.ndarray:
        """Pixels that look like the object and are not part of it, uint8: re-detection must not take them for it.

        Of a part that touches the object, only pixels that were a distractor before they met count.
        """
        similar = self.similar_pixels(frame)
        _, labels = cv2.connectedComponents(similar, connectivity=8)
        touching = np.zeros(labels.max() + 1, bool)
        touching[labels[dilated(mask, 2) > 0]] = True
        separate = ~touching[labels]
        return (similar & (separate | ((self.distractors > 0) & ~mask))).astype(np.uint8)


def inside_and_rim(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels inside a silhouette and in the rim around it, bool, from its signed distance."""
    return distance > 0, (distance <= 0) & (distance > -RIM)


def surround(mask: np.ndarray) -> np.ndarray:
    """Pixels around a mask, bool (h, w): a ring about as wide as half the object."""
    ring = (dilated(mask, int(np.clip(SURROUND_SHARE * np.sqrt(mask.sum()), *SURROUND_LIMITS))) > 0) & ~mask
    return ring if ring.any() else ~mask
