"""A rigid silhouette that moves, turns and grows: what a whole object looks like while parts of it are hidden.

In: the mask of an object seen in full, then, picture by picture, where its pixels went and where its outline is seen.
Out: signed distances to the outline it should have now, hidden parts included.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.guided_filter import Window, crop_window, outline_points, sampled, signed_distance

FAR = -1e3
"""Distance given to places that the stored outline knows nothing of: far outside."""

INNER_WEIGHT = 0.7
"""Of an edge point inside the outline: it may be the edge of an occluder, one outside is the object's."""


class Silhouette:
    """Outline of an object with its pose: centre (x, y), turn in radians and log scale since the outline was taken.

    Pixels are those of the working picture. rate: change of the pose from one picture to the next.
    """

    def __init__(self, mask: np.ndarray) -> None:
        window = crop_window(mask, 8)
        assert window is not None, "a silhouette needs at least one pixel"
        rows, columns = window
        part = np.pad(mask[window], 8)  # so that outlines along the frame's edge have an outside too
        self._distance = signed_distance(part)
        self._slope_y, self._slope_x = np.gradient(self._distance)
        ys, xs = np.nonzero(part)
        self._middle = np.array([xs.mean(), ys.mean()])
        self._reach = float(np.hypot(xs - self._middle[0], ys - self._middle[1]).max()) + 1.0
        self.area = len(xs)
        self.pose = np.array([self._middle[0] + columns.start - 8, self._middle[1] + rows.start - 8, 0.0, 0.0])
        self.rate = np.zeros(4)
        self._bias = 0.0

    @property
    def centre(self) -> np.ndarray:
        return self.pose[:2]

    def area_now(self) -> float:
        """Pixels the whole object covers at its present scale."""
        return self.area * float(np.exp(2 * self.pose[3]))

    def bounds(self, pose: np.ndarray, pad: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a square that holds the posed silhouette with a margin."""
        x, y, _, log_scale = pose
        reach = self._reach * float(np.exp(log_scale)) + pad
        return x - reach, y - reach, x + reach, y + reach

    def distance(self, window: Window, pose: np.ndarray | None = None) -> np.ndarray:
        """Signed distance to the outline in a window of the working picture, float32, positive inside."""
        x, y, turn, log_scale = self.pose if pose is None else pose
        scale = np.exp(log_scale)
        cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
        origin_x, origin_y = window[1].start - x, window[0].start - y
        back = np.array(
            [
                [cos, sin, self._middle[0] + cos * origin_x + sin * origin_y],
                [-sin, cos, self._middle[1] - sin * origin_x + cos * origin_y],
            ]
        )
        size_wh = (window[1].stop - window[1].start, window[0].stop - window[0].start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(self._distance, back, size_wh, flags=flags, borderValue=FAR)
        return moved * np.float32(scale)

    def advanced(self) -> np.ndarray:
        """The pose if it keeps changing as it did."""
        return self.pose + self.rate

    def carried(self, now: np.ndarray, before: np.ndarray) -> np.ndarray | None:
        """The pose that explains how points (N, 2) went from `before` to `now`; None without a rigid explanation."""
        if len(now) < 6:
            return None
        step = np.eye(2, 3)
        step[:, 2] = np.median(now - before, axis=0)
        if len(now) >= 24:
            fitted, inliers = cv2.estimateAffinePartial2D(before, now, ransacReprojThreshold=1.0)
            if fitted is not None and inliers.mean() > 0.4 and 0.85 < np.hypot(*fitted[:, 0]) < 1.18:
                step = np.asarray(fitted, np.float64)
        centre = step[:, :2] @ self.centre + step[:, 2]
        turn, growth = np.arctan2(step[1, 0], step[0, 0]), np.log(np.hypot(*step[:, 0]))
        return np.array([*centre, self.pose[2] + turn, self.pose[3] + growth])

    def settle(self, pose: np.ndarray, memory: float) -> None:
        """Takes the pose found in this picture; `memory` (0..1) is how much of the former rate is kept."""
        change = pose - self.pose
        change[2:] = np.clip(change[2:], -0.1, 0.1)
        self.rate = memory * self.rate + (1 - memory) * change
        self.pose = pose

    def drift(self, shape: tuple[int, ...]) -> None:
        """Moves on unseen, ever more slowly, and no farther than just out of a picture of (height, width)."""
        self.rate[2:] = 0.0  # what cannot be seen to turn or grow is not made to
        self.pose = self.advanced()
        reach = self._reach * np.exp(self.pose[3])
        self.pose[:2] = np.clip(self.pose[:2], -reach, np.array(shape[1::-1]) + reach)
        self.rate *= 0.95

    def calibrate(self, outline: np.ndarray) -> None:
        """Learns how far from the true outline this one, found from evidence in the picture it was taken in, runs."""
        if len(outline):
            self._bias = float(np.clip(np.median(self._residuals(self.pose, outline)[0]), -3, 3))

    def fitted(
        self, pose: np.ndarray, outline: np.ndarray, steps: int = 3, free: int = 4, reach: float = 0.1
    ) -> np.ndarray:
        """A pose near `pose` whose outline runs through the points (N, 2); far-off points are taken for occlusions.

        free: how many of centre x, centre y, turn and scale may change. reach: how far off a point may be, as a share
        of the object's size. Gauss-Newton on the distance map with Tukey weights; turn and scale are damped, since a
        round object does not say how it is turned.
        """
        pose = pose.copy()
        if len(outline) < 8:
            return pose
        size = np.sqrt(self.area_now())
        limit = max(2.5, reach * size)
        for _ in range(steps):
            gap, normal, arm = self._residuals(pose, outline)
            weight = np.where(np.abs(gap) < limit, (1 - (gap / limit) ** 2) ** 2, 0.0)
            weight *= np.where(gap > 0, INNER_WEIGHT, 1.0)
            if weight.sum() < 8:
                return pose
            columns = np.stack(
                [normal[:, 0], normal[:, 1], normal[:, 1] * arm[:, 0] - normal[:, 0] * arm[:, 1], (normal * arm).sum(1)]
            )[:free]
            damping = np.array([0.02, 0.02, 0.05 * size**2 * 0.1, 0.05 * size**2 * 0.1])[:free] * weight.sum()
            change = np.linalg.solve((columns * weight) @ columns.T + np.diag(damping), (columns * weight) @ gap)
            pose[:free] += change
        return pose

    def _residuals(self, pose: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per point: how far inside its place it lies, inward normal, offset from the centre; in the picture's axes."""
        scale, cos, sin = np.exp(pose[3]), np.cos(pose[2]), np.sin(pose[2])
        arm = outline - pose[:2]
        back = arm @ np.array([[cos, -sin], [sin, cos]]) / scale + self._middle
        at = back.astype(np.float32)[None]
        gap, slope_x, slope_y = (
            sampled(layer, at, cv2.INTER_LINEAR, border)[0]
            for layer, border in ((self._distance, FAR), (self._slope_x, 0), (self._slope_y, 0))
        )
        normal = np.stack([slope_x, slope_y], 1) @ np.array([[cos, sin], [-sin, cos]])
        return gap * scale - 0.5 - self._bias, normal, arm


def outline_of(mask: np.ndarray, window: Window) -> np.ndarray:
    """Edge points (N, 2) of a mask given in a window, x and y in the whole picture, at most about 200.

    The points lie on the last pixels inside, which is where `Silhouette.fitted` expects them.
    """
    points = outline_points(mask)
    points = points[:: max(len(points) // 200, 1)].astype(np.float64)
    return points + np.array([window[1].start, window[0].start])
