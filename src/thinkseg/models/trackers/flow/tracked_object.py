"""One tracked object: its soft mask in the next frame, and the update of its state.

Four cues are added per pixel, each in -1..1 before its weight:

- the last mask, carried along by the optical flow, which has the exact outline;
- the object's colors, and where these are ambiguous, motion against the camera, which correct drift;
- the silhouette, moved as a rigid body, which covers hidden parts and excludes neighbors of the same color.

All lengths are pixels of the working frame.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.camera_motion import motion_cue
from thinkseg.models.trackers.flow.mask_geometry import Window, dilated, sampled, signed_distance
from thinkseg.models.trackers.flow.object_state import COLOR_WEIGHT, WIDE_BAND, ObjectState, surround
from thinkseg.models.trackers.flow.redetection import redetect
from thinkseg.models.trackers.flow.silhouette import Silhouette
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, SoftMask, complete_mask, drop_strays, snap_to_edges

SILHOUETTE_INSIDE, SILHOUETTE_OUTSIDE = 0.5, 1.6
"""Weights of the silhouette inside and outside. Inside it adds little, because an occluder may be there. J of
SILHOUETTE_INSIDE x0.7: +0.09, x1.4: -0.09; of SILHOUETTE_OUTSIDE x0.7: -0.47, x1.4: +0.20."""

MOTION_WEIGHT = 1.0
"""Weight of motion for an object that is not rigid; the silhouette separates a rigid one from what it passes. J x0.7:
+0.02, x1.4: -0.01."""

CAMERA_WEIGHT = 1.0
"""Weight of motion against the camera for an object whose colors do not tell it from its surroundings. On
nine real objects (docs/real.md), J x0.7: -3.24, x1.4: +0.08."""

JOINING_SHARE = 0.3
"""Share of that weight for pixels that move like the object: they may be another's, such as who carries the object.
On nine real objects, J x0.7: -1.94, x1.4: -1.69."""

SPEED_RATE = 0.2
"""Rate per frame at which the stored speed of the object against the camera follows the measured one."""

MIN_CONFIDENCE = 0.5
"""Confidence (0..1) below which the object counts as lost, and its mask is empty, as with SAM 2; also the least share
of a mask that descends from earlier ones. Of seven real objects (docs/real.md), a share of 0.35 makes 70 frames wrong
instead of 55, and one of 0.6 makes 50 wrong; on nine, J of both x0.7: -0.14, x1.4: -1.52."""

EDGE_DOUBT = 2.0
"""Pixels on both sides of a silhouette's edge in which colors count less: they are ambiguous there, because of
anti-aliasing or a dark outline. J x0.7: -0.09, x1.4: +0.03."""

EDGE_BAND = 0.06
"""Width over which an edge is uncertain, as a share of the object's size (square root of its area). J x0.7: +0.08,
x1.4: -0.12."""

EDGE_BAND_LIMITS = (1.5, 5.0)
"""Pixels, limits of that width."""

MAX_GROWTH, MIN_GROWTH_LIMIT = 0.3, 4.0
"""Distance from the silhouette beyond which no object grows in one frame: share of its size, and at least so many
pixels. J of MAX_GROWTH x0.7 and x1.4: 0."""

MIN_RIGIDITY = 0.3
"""Rigidity below which the silhouette's pose is not fitted, and the silhouette is replaced by the mask. J x0.7 and
x1.4: 0."""

RIGIDITY_OFFSET, RIGIDITY_SLOPE = 1.3, 10.0
"""Rigidity is a line over the share of the object outside the silhouette, clipped to 0..1: offset and slope. J of
RIGIDITY_OFFSET x0.7: -0.79, x1.4: 0; of RIGIDITY_SLOPE x0.7 and x1.4: 0."""

OUTSIDE_DISTANCE = 1.5
"""Pixels beyond the silhouette from which the object counts as outside of it. J x0.7 and x1.4: 0."""

RIGIDITY_GAIN, RIGIDITY_LOSS = 0.2, 0.1
"""Share of the change of rigidity that one frame applies, upwards and downwards. J of RIGIDITY_GAIN x0.7: -0.11, x1.4:
+0.07; of RIGIDITY_LOSS x0.7 and x1.4: 0."""

RESHAPED_RIGIDITY = 0.5
"""Rigidity of a silhouette that has just been replaced. J x0.7 and x1.4: 0."""

RESHAPE_AREA = (0.6, 1.4)
"""Area of the mask, as a share of the silhouette's, at which the mask may replace the silhouette."""

MAX_SILHOUETTE_AREA = 2.5
"""Area of the silhouette, as a share of the largest recent mask, above which the mask replaces it."""

LARGEST_DECAY = 0.99
"""Factor per frame on the largest recent area."""

WARM_UP_FRAMES = 4
"""Frames in which the velocity is not yet reliable: poses come from the flow. J x0.7 and x1.4: 0."""

MOMENTUM, HIDDEN_MOMENTUM = 0.5, 0.9
"""Weight of the former velocity, for a visible object and for one that is partly hidden or next to a distractor. J of
MOMENTUM x0.7 and x1.4: 0; of HIDDEN_MOMENTUM x0.7 and x1.4: 0."""

VISIBLE_SHARE = 0.6
"""Share of the silhouette from which an object counts as visible for its velocity. J x0.7: -0.01, x1.4: 0."""

POSE_GAIN = 0.1
"""Advantage in pose score (-2..2) that another pose needs to replace the one from the flow. J x0.7 and x1.4: 0."""

DISTRACTOR_FLOW = 0.3
"""Factor on the flow's share of the pose next to a distractor. J x0.7 and x1.4: 0."""

FAR_REACH = 0.4
"""Reach (see `Silhouette.fitted`) of the fit for an object that has moved far. J x0.7 and x1.4: 0."""

DISTRACTOR_DISTANCE = 6
"""Pixels around the object in which a distractor counts as next to it. J x0.7 and x1.4: 0."""

DISTRACTOR_SHARE = 0.04
"""Area of distractors in that range, as a share of the object's area, that counts. J x0.7 and x1.4: 0."""

MIN_VISIBLE_SHARE, MIN_VISIBLE_PIXELS = 0.02, 4
"""Area below which an object counts as hidden: share of the silhouette's area, and pixels. J of MIN_VISIBLE_SHARE x0.7:
0, x1.4: -0.24."""

MIN_FIT = 0.25
"""Mean color evidence of a mask, as a share of the keyframe's, below which the object counts as lost. J x0.7 and x1.4:
0."""

COLOR_RATE = 0.05
"""Rate at which the color model follows the object per frame. J x0.7: +0.03, x1.4: -0.02."""

COLOR_UPDATE_SHARE = 0.5
"""Share of the silhouette that must be visible for an update of the colors. J x0.7 and x1.4: 0."""


MIN_RELATIVE_MOTION = 0.5
"""Pixels per frame between object and surroundings below which motion is no cue. J x0.7 and x1.4: 0."""

FULL_RELATIVE_MOTION = 2.0
"""Pixels per frame from which motion has its full weight. J x0.7: 0, x1.4: +0.01."""


class TrackedObject(ObjectState):
    """An object on the way through the frames in one direction: `propose`, then `update`, per frame."""

    def propose(self, frame: ScaledFrame, source_map: np.ndarray, speed: np.ndarray) -> SoftMask | None:
        """Soft mask in the next frame, or None if the object is not visible.

        source_map: float32 (h, w, 2), for every pixel its position (x, y) in the last frame. speed: float32 (h, w), of
        every pixel against the camera.
        """
        self.distractors = sampled(self.distractors, source_map, cv2.INTER_NEAREST)
        self.tenure = sampled(self.tenure, source_map, cv2.INTER_LINEAR)
        if not self.frames_hidden:
            soft = self._propagate(frame, source_map, speed)
            if soft is not None and self._is_plausible(frame, soft):
                return soft
        else:
            self.silhouette.extrapolate(self.mask.shape)
        soft = redetect(self, frame, speed)
        self.tenure[:] = 1
        return soft

    def update(self, frame: ScaledFrame, mask: np.ndarray, others: np.ndarray) -> bool:
        """Takes the final mask, bool (h, w). Returns False if it is too small, and the object counts as hidden.

        others: bool (h, w), the pixels of all other objects.
        """
        area, complete = int(mask.sum()), self.silhouette.current_area()
        if self._is_too_small(area):
            self.frames_hidden += 1
            self.confidence = min(self.confidence_of(frame, mask), MIN_CONFIDENCE)
            self.mask = np.zeros_like(self.mask)
            self.distractors[others] = 1
            return False
        self.mask, self.frames_hidden = mask, 0
        self.settle(mask)
        self.confidence = max(min(self.confidence_of(frame, mask), self.settled_share(mask)), MIN_CONFIDENCE)
        self.largest = max(float(area), LARGEST_DECAY * self.largest)
        low, high = RESHAPE_AREA
        deformed = self.rigidity < MIN_RIGIDITY and not self.near_distractor and low * complete < area < high * complete
        if deformed or complete > MAX_SILHOUETTE_AREA * self.largest:
            self._reshape(frame)
        if area > COLOR_UPDATE_SHARE * complete:
            self.colors.update(frame.bins, mask, surround(mask), COLOR_RATE)
        self.distractors = self.find_distractors(frame, mask)
        self.distractors[others] = 1
        return True

    def _propagate(self, frame: ScaledFrame, source_map: np.ndarray, speed: np.ndarray) -> SoftMask | None:
        """Carries the mask along and adds up the evidence of all cues."""
        self.age += 1
        self.near_distractor = self._is_near_distractor()
        carried = sampled(signed_distance(self.mask), source_map, cv2.INTER_LINEAR, outside=-1e3)
        pose = self._likely_pose(frame, carried > 0, source_map)
        window = self.window(carried > 0, pose)
        if window is None:
            return None
        colors = self.colors.evidence(frame.bins[window])
        evidence = self.mask_and_color_evidence(colors, carried, window, self._edge_band())
        if self.ambiguity:
            evidence += self._camera_evidence(speed[window], carried[window] > 0)
        flexible = MOTION_WEIGHT * (1 - self.ambiguity) * (1 - self.rigidity)
        evidence += flexible * _motion_evidence(source_map, carried > 0, window)
        free = evidence > 0
        if self.rigidity > MIN_RIGIDITY:
            wide = self.mask_and_color_evidence(colors, carried, window, WIDE_BAND) > 0
            pose = self._fitted_pose(frame, pose, self.own_outline(wide, window))
        distance = self.silhouette.distance(window, pose)
        self._update_pose(pose, free, distance)
        if not self.near_distractor:
            self._update_rigidity(free, distance)
        evidence += self._silhouette_evidence(colors, distance)
        growth_limit = max(MIN_GROWTH_LIMIT, MAX_GROWTH * np.sqrt(self.silhouette.current_area()))
        evidence -= SILHOUETTE_OUTSIDE * (distance < -growth_limit)
        soft = snap_to_edges(frame, window, evidence, self.rigidity)
        return drop_strays(soft, (carried[window] > 0) | (distance > 0))

    def _camera_evidence(self, speed: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Evidence of motion against the camera in a window, float32, mostly against pixels that stay behind."""
        motion = motion_cue(speed, inside)
        self.relative_speed += SPEED_RATE * (motion.difference - self.relative_speed)
        moving = np.where(motion.evidence > 0, JOINING_SHARE * motion.evidence, motion.evidence)
        return CAMERA_WEIGHT * self.ambiguity * motion.reliability * moving

    def _silhouette_evidence(self, colors: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Evidence of the silhouette, weighted by rigidity; at its edge the evidence of colors is taken back."""
        doubt = self.rigidity * np.exp(-((distance / EDGE_DOUBT) ** 2))
        shape = np.clip(distance / self._edge_band(), -1, 1)
        weight = np.where(shape > 0, SILHOUETTE_INSIDE, self.rigidity * SILHOUETTE_OUTSIDE)
        return self.rigidity * weight * shape - doubt * COLOR_WEIGHT * colors

    def _edge_band(self) -> float:
        """Pixels over which an edge is uncertain."""
        return float(np.clip(EDGE_BAND * np.sqrt(self.silhouette.current_area()), *EDGE_BAND_LIMITS))

    # -- pose and rigidity --------------------------------------------------------------------------------------------

    def _likely_pose(self, frame: ScaledFrame, carried: np.ndarray, source_map: np.ndarray) -> np.ndarray:
        """The pose from the flow, the predicted pose if colors support it clearly better, or a mean of both."""
        predicted = self.silhouette.predicted()
        ys, xs = np.nonzero(carried)
        every = max(len(xs) // 300, 1)
        now = np.stack([xs, ys], 1)[::every].astype(np.float32)
        from_flow = self.silhouette.pose_from_flow(now, source_map[ys[::every], xs[::every]])
        if from_flow is None:
            return predicted
        if self.rigidity <= MIN_RIGIDITY:
            return from_flow
        if self.pose_score(frame, predicted) > self.pose_score(frame, from_flow) + POSE_GAIN:
            return predicted
        if self.age < WARM_UP_FRAMES:
            share = 1.0
        else:
            # The flow is less reliable if little of the object is visible, and next to a distractor.
            visible = len(xs) / max(self.silhouette.current_area(), 1.0)
            share = min(visible, 1.0) * (DISTRACTOR_FLOW if self.near_distractor else 1.0)
        return share * from_flow + (1 - share) * predicted

    def _fitted_pose(self, frame: ScaledFrame, pose: np.ndarray, outline: np.ndarray) -> np.ndarray:
        """The pose fitted to the visible outline; from farther away if colors support that clearly better."""
        far = self.silhouette.fitted(pose, outline, steps=6, free=2, reach=FAR_REACH)
        if self.pose_score(frame, far) > self.pose_score(frame, pose) + POSE_GAIN:
            pose = far
        return self.silhouette.fitted(pose, outline, free=2 if self.near_distractor else 4)

    def _update_pose(self, pose: np.ndarray, free: np.ndarray, distance: np.ndarray) -> None:
        """Sets the silhouette's pose; a partly hidden object keeps more of its velocity."""
        visible = float((free & (distance > 0)).sum()) / max(self.silhouette.current_area(), 1.0)
        reliable = visible > VISIBLE_SHARE and (not self.near_distractor or self.age < WARM_UP_FRAMES)
        self.silhouette.update(pose, MOMENTUM if reliable else HIDDEN_MOMENTUM)

    def _update_rigidity(self, free: np.ndarray, distance: np.ndarray) -> None:
        """Lowers the rigidity if the mask without the silhouette extends beyond it, raises it otherwise."""
        area = int(free.sum())
        if area:
            outside = float((free & (distance < -OUTSIDE_DISTANCE)).sum()) / area
            change = float(np.clip(RIGIDITY_OFFSET - RIGIDITY_SLOPE * outside, 0, 1)) - self.rigidity
            self.rigidity += change * (RIGIDITY_GAIN if change > 0 else RIGIDITY_LOSS)

    def _reshape(self, frame: ScaledFrame) -> None:
        """Replaces the silhouette by the current mask, for an object that deforms."""
        velocity = self.silhouette.velocity
        self.silhouette = Silhouette(self.mask)
        self.silhouette.velocity = velocity
        self.rigidity = RESHAPED_RIGIDITY
        self.calibrate(frame)

    # -- checks -------------------------------------------------------------------------------------------------------

    def _is_near_distractor(self) -> bool:
        window = self.window(self.mask, self.silhouette.pose)
        if window is None:
            return False
        near = dilated(self.mask[window], DISTRACTOR_DISTANCE)
        return int(self.distractors[window][near > 0].sum()) > DISTRACTOR_SHARE * self.silhouette.current_area()

    def _is_plausible(self, frame: ScaledFrame, soft: SoftMask) -> bool:
        """Whether a soft mask is large enough, has the object's colors and descends from the earlier masks."""
        found = soft.values > 0
        if self._is_too_small(int(found.sum())):
            return False
        fit = float(self.colors.evidence(frame.bins[soft.window][found]).mean())
        if fit <= MIN_FIT * self.reference_fit:
            return False
        complete = complete_mask(soft, self.mask.shape)
        if self.ambiguity and self.settled_share(complete) < MIN_CONFIDENCE:
            self.distractors[complete & (self.tenure < MIN_CONFIDENCE)] = 1  # what has joined lately is something else
            return False
        return self.is_confident(frame, complete, MIN_CONFIDENCE)

    def _is_too_small(self, area: int) -> bool:
        return area < max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_SHARE * self.silhouette.current_area())


def _motion_evidence(source_map: np.ndarray, mask: np.ndarray, window: Window) -> np.ndarray:
    """Whether pixels move with the object (1) or with its surroundings (-1), float32; near 0 if those move alike."""
    rows, columns = window
    motion = source_map[window].copy()
    motion[..., 0] -= np.arange(columns.start, columns.stop, dtype=np.float32)
    motion[..., 1] -= np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    own = mask[window]
    if own.all() or not own.any():
        return np.zeros(own.shape, np.float32)
    of_object, of_surroundings = (np.median(motion[part], axis=0) for part in (own, ~own))
    difference = float(np.hypot(*(of_object - of_surroundings)))
    if difference < MIN_RELATIVE_MOTION:
        return np.zeros(own.shape, np.float32)
    closer = np.linalg.norm(motion - of_surroundings, axis=-1) - np.linalg.norm(motion - of_object, axis=-1)
    return np.clip(closer / difference, -1, 1) * min(difference / FULL_RELATIVE_MOTION, 1.0)
