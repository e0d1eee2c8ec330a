"""A rigid silhouette with a pose: the outline of the complete object while parts of it are hidden."""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.mask_geometry import Window, crop_window, outline_points, sampled, signed_distance

FAR = -1e3
"""Signed distance beyond the stored outline: far outside."""

OUTLINE_MARGIN = 8
"""Working pixels around the mask in which distances are stored."""

MIN_MOVED_POINTS = 6
"""Points that the flow must give for a translation."""

MIN_SIMILARITY_POINTS = 24
"""Points that the flow must give for rotation and scale as well."""

RANSAC_THRESHOLD = 1.0
"""Working pixels by which a point may miss the common motion and still count as an inlier. J x0.7: -0.01, x1.4: 0."""

MIN_INLIERS = 0.4
"""Share of inliers below which rotation and scale of the flow are not used. J x0.7 and x1.4: 0."""

SCALE_STEP = (0.85, 1.18)
"""Change of scale between two frames that is plausible."""

MAX_SPIN = 0.1
"""Limit on the change of rotation (radians) and log scale per frame that the velocity takes over."""

HIDDEN_DECAY = 0.95
"""Factor on the velocity of a hidden object per frame. J x0.7 and x1.4: 0."""

MAX_BIAS = 3.0
"""Working pixels, limit on the calibrated distance between the silhouette and the outline of the evidence."""

MIN_FIT_POINTS = 8
"""Outline points, also as a sum of weights, that a fit needs."""

FIT_REACH = 0.1
"""Distance up to which an outline point counts in a fit, as a share of the object's size (square root of its area). J
x0.7: +0.05, x1.4: -0.02."""

MIN_FIT_REACH = 2.5
"""Working pixels, lower limit of that distance. J x0.7 and x1.4: 0."""

INNER_WEIGHT = 0.7
"""Weight of an outline point inside the silhouette, which may be the edge of an occluder; 1 for one outside. J x0.7:
-0.15, x1.4: +0.17."""

SHIFT_DAMPING = 0.02
"""Damping of translation in a fit, per unit of weight. J x0.7 and x1.4: 0."""

ROTATION_DAMPING = 0.05
"""Damping of rotation and scale, per unit of weight and squared lever arm: round outlines do not fix a rotation. J x0.7
and x1.4: 0."""

SQUARED_ARM = 0.1
"""Squared lever arm of an outline point, as a share of the object's area."""

MAX_POINTS = 200
"""Outline points used per fit, about; for speed."""


class Silhouette:
    """Outline of an object and its pose.

    pose: center x, center y (working pixels), rotation (radians) and log scale since the outline was taken. velocity:
    change of the pose per frame.
    """

    def __init__(self, mask: np.ndarray) -> None:
        """mask: bool (h, w) with at least one pixel."""
        window = crop_window(mask, OUTLINE_MARGIN)
        assert window is not None, "a silhouette needs at least one pixel"
        rows, columns = window
        part = np.pad(mask[window], OUTLINE_MARGIN)  # so that outlines along the frame's edge have an outside too
        self._distance = signed_distance(part)
        self._slope_y, self._slope_x = np.gradient(self._distance)
        ys, xs = np.nonzero(part)
        self._origin = np.array([xs.mean(), ys.mean()])
        self._radius = float(np.hypot(xs - self._origin[0], ys - self._origin[1]).max()) + 1.0
        self.area = len(xs)
        x, y = self._origin[0] + columns.start - OUTLINE_MARGIN, self._origin[1] + rows.start - OUTLINE_MARGIN
        self.pose = np.array([x, y, 0.0, 0.0])
        self.velocity = np.zeros(4)
        self._bias = 0.0

    @property
    def center(self) -> np.ndarray:
        return self.pose[:2]

    @property
    def speed(self) -> float:
        """Working pixels per frame."""
        return float(np.hypot(*self.velocity[:2]))

    def current_area(self) -> float:
        """Working pixels that the complete object covers at its present scale."""
        return self.area * float(np.exp(2 * self.pose[3]))

    def bounds(self, pose: np.ndarray, pad: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a square that contains the posed silhouette with a margin."""
        x, y, _, log_scale = pose
        radius = self._radius * float(np.exp(log_scale)) + pad
        return x - radius, y - radius, x + radius, y + radius

    def distance(self, window: Window, pose: np.ndarray | None = None) -> np.ndarray:
        """Signed distance to the posed outline in a window of the working frame, float32, positive inside."""
        x, y, rotation, log_scale = self.pose if pose is None else pose
        scale = np.exp(log_scale)
        cos, sin = np.cos(rotation) / scale, np.sin(rotation) / scale
        origin_x, origin_y = window[1].start - x, window[0].start - y
        inverse = np.array(
            [
                [cos, sin, self._origin[0] + cos * origin_x + sin * origin_y],
                [-sin, cos, self._origin[1] - sin * origin_x + cos * origin_y],
            ]
        )
        size_wh = (window[1].stop - window[1].start, window[0].stop - window[0].start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(self._distance, inverse, size_wh, flags=flags, borderValue=FAR)
        return moved * np.float32(scale)

    def predicted(self) -> np.ndarray:
        """The pose at constant velocity."""
        return self.pose + self.velocity

    def pose_from_flow(self, now: np.ndarray, before: np.ndarray) -> np.ndarray | None:
        """The pose after a rigid motion of points (N, 2) from `before` to `now`; None for too few points."""
        if len(now) < MIN_MOVED_POINTS:
            return None
        step = np.eye(2, 3)
        step[:, 2] = np.median(now - before, axis=0)
        if len(now) >= MIN_SIMILARITY_POINTS:
            fitted, inliers = cv2.estimateAffinePartial2D(before, now, ransacReprojThreshold=RANSAC_THRESHOLD)
            low, high = SCALE_STEP
            if fitted is not None and inliers.mean() > MIN_INLIERS and low < np.hypot(*fitted[:, 0]) < high:
                step = np.asarray(fitted, np.float64)
        center = step[:, :2] @ self.center + step[:, 2]
        rotation, growth = np.arctan2(step[1, 0], step[0, 0]), np.log(np.hypot(*step[:, 0]))
        return np.array([*center, self.pose[2] + rotation, self.pose[3] + growth])

    def update(self, pose: np.ndarray, momentum: float) -> None:
        """Sets the pose; `momentum` (0..1) is the weight of the former velocity."""
        change = pose - self.pose
        change[2:] = np.clip(change[2:], -MAX_SPIN, MAX_SPIN)
        self.velocity = momentum * self.velocity + (1 - momentum) * change
        self.pose = pose

    def extrapolate(self, shape: tuple[int, ...]) -> None:
        """Moves a hidden object on, ever more slowly, and no farther than just outside a frame of (height, width)."""
        self.velocity[2:] = 0.0  # rotation and scale cannot be observed while hidden
        self.pose = self.predicted()
        radius = self._radius * np.exp(self.pose[3])
        self.pose[:2] = np.clip(self.pose[:2], -radius, np.array(shape[1::-1]) + radius)
        self.velocity *= HIDDEN_DECAY

    def calibrate(self, outline: np.ndarray) -> None:
        """Stores how far an outline (N, 2), found from evidence in the frame of the mask, is from the silhouette's."""
        if len(outline):
            self._bias = float(np.clip(np.median(self._residuals(self.pose, outline)[0]), -MAX_BIAS, MAX_BIAS))

    def fitted(
        self, pose: np.ndarray, outline: np.ndarray, steps: int = 3, free: int = 4, reach: float | None = None
    ) -> np.ndarray:
        """A pose near `pose` whose outline runs through the points (N, 2).

        Gauss-Newton on the distance map with Tukey weights, so that points far off, as at an occluder, do not count.
        steps: iterations. free: how many of x, y, rotation and scale may change. reach: see FIT_REACH (default).
        """
        pose = pose.copy()
        if len(outline) < MIN_FIT_POINTS:
            return pose
        size = np.sqrt(self.current_area())
        limit = max(MIN_FIT_REACH, (FIT_REACH if reach is None else reach) * size)
        rotation_damping = ROTATION_DAMPING * size**2 * SQUARED_ARM
        damping = np.array([SHIFT_DAMPING, SHIFT_DAMPING, rotation_damping, rotation_damping])[:free]
        for _ in range(steps):
            gap, normal, arm = self._residuals(pose, outline)
            weight = np.where(np.abs(gap) < limit, (1 - (gap / limit) ** 2) ** 2, 0.0)
            weight *= np.where(gap > 0, INNER_WEIGHT, 1.0)
            if weight.sum() < MIN_FIT_POINTS:
                return pose
            columns = np.stack(
                [normal[:, 0], normal[:, 1], normal[:, 1] * arm[:, 0] - normal[:, 0] * arm[:, 1], (normal * arm).sum(1)]
            )[:free]
            matrix = (columns * weight) @ columns.T + np.diag(damping * weight.sum())
            pose[:free] += np.linalg.solve(matrix, (columns * weight) @ gap)
        return pose

    def _residuals(self, pose: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per point: distance inside the outline, inward normal and offset from the center, in working pixels."""
        scale, cos, sin = np.exp(pose[3]), np.cos(pose[2]), np.sin(pose[2])
        arm = outline - pose[:2]
        back = arm @ np.array([[cos, -sin], [sin, cos]]) / scale + self._origin
        at = back.astype(np.float32)[None]
        gap, slope_x, slope_y = (
            sampled(layer, at, cv2.INTER_LINEAR, border)[0]
            for layer, border in ((self._distance, FAR), (self._slope_x, 0), (self._slope_y, 0))
        )
        normal = np.stack([slope_x, slope_y], 1) @ np.array([[cos, sin], [-sin, cos]])
        return gap * scale - 0.5 - self._bias, normal, arm


def outline_of(mask: np.ndarray, window: Window) -> np.ndarray:
    """Edge points float64 (N, 2) of a mask in a window, x and y in the working frame, about MAX_POINTS at most.

    The points lie on the last pixels inside, as `Silhouette.fitted` expects.
    """
    points = outline_points(mask)
    points = points[:: max(len(points) // MAX_POINTS, 1)].astype(np.float64)
    return points + np.array([window[1].start, window[0].start])
