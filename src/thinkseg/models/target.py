"""One followed object: where it was, how it looks, and what it becomes in the next picture.

In: pictures at working size with the flow between them. Out: a soft map (positive = object) inside a window, which the
tracker turns into a mask once the objects have settled who owns which pixel.

Three witnesses are added up, each in -1..1 per pixel: the last mask carried along by the flow, the object's colours,
and its whole silhouette moved as a rigid body since it was last seen in full. The flow knows the outline, the colours
notice drift, and the silhouette knows what is still behind an occluder.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from thinkseg.models.appearance import Colours, colour_cells
from thinkseg.models.edges import apply_coefficients, as_guide, guided_coefficients, signed_distance

COLOUR_WEIGHT, SHAPE_WEIGHT = 0.8, 0.5
Window = tuple[slice, slice]


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
    """A soft map float32 over a window of the working picture, with the filter that redraws it at source size."""

    window: Window
    values: np.ndarray
    coefficients: np.ndarray | None = None


class Target:
    """State of one object while the video is walked in one direction."""

    def __init__(self, picture: Picture, mask: np.ndarray) -> None:
        self.mask = mask
        self.shape = mask.copy()
        self.pose = np.eye(2, 3, dtype=np.float32)
        self.velocity = np.zeros(2, np.float32)
        self.hidden_for = 0
        self.shape_trust = 1.0
        self.full_area = int(mask.sum())
        self.colours = Colours(picture.cells, mask, self._surround(mask))
        self.typical = max(self._fit(picture, mask), 0.1)
        self.rivals = self._lookalikes(picture, mask)

    # -- the next picture ---------------------------------------------------------------------------------------------

    def propose(self, picture: Picture, source_map: np.ndarray) -> Soft | None:
        """Soft map in the next picture, or None where nothing of the object is expected.

        source_map: float32 (h, w, 2), for every pixel the place it came from in the picture before.
        """
        self.rivals = cv2.remap(self.rivals, source_map, None, cv2.INTER_NEAREST, borderValue=0)
        if self.hidden_for:
            return self._search(picture)
        distance = signed_distance(self.mask)
        carried = cv2.remap(distance, source_map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._move(carried > 0, source_map)
        soft = self._weigh(picture, carried)
        return soft if soft is not None else self._search(picture)

    def _move(self, carried: np.ndarray, source_map: np.ndarray) -> None:
        """Moves the silhouette by the similarity that explains the flow of the carried pixels."""
        ys, xs = np.nonzero(carried)
        step = np.eye(2, 3, dtype=np.float32)
        if len(xs) == 0:
            step[:, 2] = self.velocity
        else:
            every = max(len(xs) // 300, 1)
            now = np.stack([xs, ys], 1)[::every].astype(np.float32)
            before = source_map[ys[::every], xs[::every]]
            step[:, 2] = np.median(now - before, axis=0)
            if len(now) >= 24:
                fitted, inliers = cv2.estimateAffinePartial2D(before, now, ransacReprojThreshold=1.0)
                if fitted is not None and inliers.mean() > 0.5 and 0.85 < np.hypot(*fitted[:, 0]) < 1.18:
                    step = fitted.astype(np.float32)
        centre = self._centre()
        self.pose = _compose(step, self.pose)
        self.velocity += 0.5 * (self._centre() - centre - self.velocity)

    def _centre(self) -> np.ndarray:
        ys, xs = np.nonzero(self.shape)
        return self.pose @ np.array([xs.mean(), ys.mean(), 1.0], np.float32)

    def _silhouette(self) -> np.ndarray:
        """The whole object where it should be now, hidden parts included, bool at working size."""
        size_wh = self.shape.shape[::-1]
        moved = cv2.warpAffine(self.shape.astype(np.float32), self.pose, size_wh, flags=cv2.INTER_LINEAR)
        return moved > 0.5

    def _weigh(self, picture: Picture, carried: np.ndarray) -> Soft | None:
        whole = self._silhouette()
        window = _window((carried > 0) | whole, 12)
        if window is None:
            return None
        band = np.clip(0.06 * np.sqrt(self.full_area), 1.5, 5.0)
        flow = np.clip(carried[window] / band, -1, 1)
        shape = np.clip(signed_distance(whole[window]) / band, -1, 1)
        colour = self.colours.evidence(picture.cells[window])
        raw = flow + COLOUR_WEIGHT * colour + SHAPE_WEIGHT * self.shape_trust * shape
        return self._snap(picture, window, raw)

    @staticmethod
    def _snap(picture: Picture, window: Window, raw: np.ndarray) -> Soft:
        guide = as_guide(picture.small[window])
        coefficients = guided_coefficients(guide, np.clip(raw, -1.5, 1.5).astype(np.float32), 3, 3e-3)
        return Soft(window, apply_coefficients(coefficients, guide), coefficients)

    # -- after the objects have settled who owns which pixel ----------------------------------------------------------

    def settle(self, picture: Picture, mask: np.ndarray) -> bool:
        """Takes the mask it was granted; False if what is left cannot be the object, which then counts as hidden."""
        area = int(mask.sum())
        if area < max(4, 0.03 * self.full_area) or self._fit(picture, mask) < 0.25 * self.typical:
            self._lose(picture)
            return False
        self.mask, self.hidden_for = mask, 0
        whole = self._silhouette()
        outside = float((mask & ~whole).sum()) / area
        self.shape_trust += 0.2 * (np.clip(1.5 - 5 * outside, 0, 1) - self.shape_trust)
        if self.shape_trust < 0.3 and area > 0.7 * self.full_area:
            self._reshape(mask)
        self.colours.update(picture.cells, mask, self._surround(mask), 0.05)
        self.rivals = self._lookalikes(picture, mask)
        return True

    def _reshape(self, mask: np.ndarray) -> None:
        """The object bends: what it looks like now is the silhouette from here on."""
        self.shape, self.pose = mask.copy(), np.eye(2, 3, dtype=np.float32)
        self.full_area, self.shape_trust = int(mask.sum()), 0.6

    def _lose(self, picture: Picture) -> None:
        self.hidden_for += 1
        self.mask = np.zeros_like(self.mask)
        if self.hidden_for > 1:
            self.pose[:, 2] += self.velocity

    def _fit(self, picture: Picture, mask: np.ndarray) -> float:
        """Mean colour evidence under a mask, -1..1."""
        return float(self.colours.evidence(picture.cells[mask]).mean())

    @staticmethod
    def _surround(mask: np.ndarray) -> np.ndarray:
        """Pixels around a mask: a ring about as wide as half the object, a pixel away from its edge."""
        window = _window(mask, 1)
        assert window is not None
        reach = int(np.clip(0.5 * np.sqrt(mask.sum()), 6, 40))
        solid = mask.astype(np.uint8)
        wide = cv2.dilate(solid, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        near = cv2.dilate(solid, np.ones((3, 3), np.uint8))
        ring = (wide > 0) & (near == 0)
        return ring if ring.any() else ~mask

    # -- hidden, or out of the picture --------------------------------------------------------------------------------

    def _lookalikes(self, picture: Picture, mask: np.ndarray) -> np.ndarray:
        """Pixels that look like the object and are not it, uint8: never to be mistaken for its return."""
        alike = (self.colours.evidence(picture.cells) > 0.3).astype(np.uint8)
        alike[cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0] = 0
        return cv2.morphologyEx(alike, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))

    def _search(self, picture: Picture) -> Soft | None:
        """Looks for the object where it may have come back."""
        evidence = self.colours.evidence(picture.cells)
        alike = cv2.morphologyEx((evidence > 0.3).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, labels, stats, centres = cv2.connectedComponentsWithStats(alike, connectivity=8)
        known = np.bincount(labels[self.rivals > 0], minlength=count)
        self.rivals = ((known > 0.25 * stats[:, cv2.CC_STAT_AREA])[labels] & (alike > 0)).astype(np.uint8)
        best, best_score = 0, 0.0
        for part in range(1, count):
            area = stats[part, cv2.CC_STAT_AREA]
            if known[part] > 0.25 * area or not 0.05 * self.full_area < area < 2.0 * self.full_area:
                continue
            score = self._return_score(picture, labels == part, centres[part])
            if score > best_score:
                best, best_score = part, score
        if best_score < 0.5:
            return None
        return self._pick_up(picture, labels == best, evidence)

    def _return_score(self, picture: Picture, part: np.ndarray, centre: np.ndarray) -> float:
        reach = 1.5 * np.sqrt(self.full_area) + np.hypot(*self.velocity) * 2 + 4.0 * self.hidden_for
        away = np.hypot(*(centre - self._centre())) / reach
        return self.colours.likeness(picture.cells, part) * float(np.exp(-0.5 * away**2))

    def _pick_up(self, picture: Picture, part: np.ndarray, evidence: np.ndarray) -> Soft | None:
        """Puts the silhouette over the part that was found and lets colours draw the outline."""
        ys, xs = np.nonzero(part)
        self.pose[:, 2] += np.array([xs.mean(), ys.mean()], np.float32) - self._centre()
        window = _window(part, 12)
        if window is None:
            return None
        flow = np.clip(signed_distance(part[window]) / 2.0, -1, 1)
        return self._snap(picture, window, flow + COLOUR_WEIGHT * evidence[window])


def _compose(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The affine map that first does `before`, then `after`."""
    moved = after[:, :2] @ before
    moved[:, 2] += after[:, 2]
    return moved.astype(np.float32)


def _window(mask: np.ndarray, pad: int) -> Window | None:
    """Slices around a mask with a margin, or None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        slice(max(int(rows[0]) - pad, 0), int(rows[-1]) + 1 + pad),
        slice(max(int(columns[0]) - pad, 0), int(columns[-1]) + 1 + pad),
    )
