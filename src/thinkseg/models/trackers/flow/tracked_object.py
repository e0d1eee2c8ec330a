"""One followed object: where it was, how it looks, and what it becomes in the next picture.

In: pictures at working size with the flow between them. Out: a soft map (positive = object) inside a window, which the
tracker turns into a mask once the objects have settled who owns which pixel.

Four witnesses are added up, each in -1..1 per pixel: the last mask carried along by the flow, the object's colours,
whether a pixel moves with the object or with what is around it, and the whole silhouette moved as a rigid body. The
carried mask knows the outline, colours and motion notice drift, and the silhouette knows what is still behind an
occluder and what belongs to a neighbour of the same colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.color_model import Colours
from thinkseg.models.trackers.flow.guided_filter import Window, crop_window, sampled, signed_distance
from thinkseg.models.trackers.flow.silhouette import Silhouette, outline_of
from thinkseg.models.trackers.flow.soft_mask import Picture, Soft, drop_strays, snap

COLOUR_WEIGHT = 0.8
SHAPE_FOR, SHAPE_AGAINST = 0.5, 1.6
"""A silhouette adds little where it says yes (an occluder may be there) and much where it says no."""
MOTION_WEIGHT = 1.0
"""Of an object that bends; one that is known to be rigid is told from what it passes by its silhouette instead."""
RIVAL_WEIGHT = 0.8
"""Taken from pixels that were seen to belong to a look-alike."""
ALIKE = 0.3
"""Colour evidence from which a pixel counts as looking like the object."""
TRUST_AT_0, TRUST_SLOPE = 1.3, 10.0
"""Trust in a rigid silhouette as a line over the share of the object that sticks out of it, clipped to 0..1."""
WIDE_BAND = 5.0
"""Pixels: an outline that is to correct the pose must not merely repeat the mask that the pose drew before."""
EDGE_DOUBT = 2.0
"""Working pixels on both sides of a silhouette's edge in which colours are doubted."""
REACH = 10
"""Working pixels looked at around where the object is expected."""


class Target:
    """State of one object while the video is walked in one direction."""

    def __init__(self, picture: Picture, mask: np.ndarray) -> None:
        self.mask = mask
        self.silhouette = Silhouette(mask)
        self.trust = 0.8
        self.largest = float(mask.sum())
        self.age = 0
        self.hidden_for = 0
        self.crowded = False
        self.colours = Colours(picture.cells, mask, _surround(mask))
        self.typical = max(self._fit(picture, mask), 0.1)
        self.typical_support = max(self._support(picture, self.silhouette.pose), 0.2)
        self.rivals = np.zeros(mask.shape, np.uint8)
        self.rivals = self._rivals(picture, mask)
        self._calibrate(picture)

    def _calibrate(self, picture: Picture) -> None:
        """Lets the silhouette know where the evidence puts its edge: beyond a dark outline, say, or short of it."""
        whole = slice(0, self.mask.shape[0]), slice(0, self.mask.shape[1])
        evidence = self.colours.evidence(picture.cells)
        free = self._free(evidence, signed_distance(self.mask), whole, WIDE_BAND) > 0
        self.silhouette.calibrate(self._outline(free & (self.silhouette.distance(whole) > -4), whole))

    def _free(self, evidence: np.ndarray, carried: np.ndarray, window: Window, band: float) -> np.ndarray:
        """Evidence of the carried mask and of colours, without that of the silhouette.

        evidence: of the colours in the window. band: pixels over which the carried edge is uncertain; where it is
        wide, colours alone place the edge.
        """
        distance = np.clip(carried[window] / band, -1, 1)
        return distance + COLOUR_WEIGHT * evidence - RIVAL_WEIGHT * self.rivals[window]

    def _rigid_evidence(self, evidence: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """What the silhouette adds, as far as it is trusted.

        Right at its edge colours are ambiguous (anti-aliasing, a dark outline), so there their evidence is taken back.
        """
        doubt = self.trust * np.exp(-((whole / EDGE_DOUBT) ** 2))
        shape = np.clip(whole / self._band(), -1, 1)
        weight = np.where(shape > 0, SHAPE_FOR, self.trust * SHAPE_AGAINST)
        return self.trust * weight * shape - doubt * COLOUR_WEIGHT * evidence

    def _band(self) -> float:
        """Pixels over which an edge is uncertain."""
        return float(np.clip(0.06 * np.sqrt(self.silhouette.area_now()), 1.5, 5.0))

    # -- the next picture ---------------------------------------------------------------------------------------------

    def propose(self, picture: Picture, source_map: np.ndarray) -> Soft | None:
        """Soft map in the next picture, or None where nothing of the object is seen.

        source_map: float32 (h, w, 2), for every pixel the place it came from in the picture before.
        """
        self.rivals = sampled(self.rivals, source_map, cv2.INTER_NEAREST)
        if not self.hidden_for:
            soft = self._follow(picture, source_map)
            if soft is not None and self._believable(picture, soft):
                return soft
        if self.hidden_for:
            self.silhouette.drift(self.mask.shape)
        return self._relocate(picture) or self._search(picture)

    def _follow(self, picture: Picture, source_map: np.ndarray) -> Soft | None:
        """Carries the mask along and weighs it against colours and silhouette."""
        self.age += 1
        self.crowded = self._meets_rival()
        carried = sampled(signed_distance(self.mask), source_map, cv2.INTER_LINEAR, outside=-1e3)
        pose = self._pose(picture, carried > 0, source_map)
        window = self._window(carried > 0, pose)
        if window is None:
            return None
        evidence = self.colours.evidence(picture.cells[window])
        raw = self._free(evidence, carried, window, self._band())
        raw += MOTION_WEIGHT * (1 - self.trust) * _moves_along(source_map, carried > 0, window)
        free = raw > 0
        if self.trust > 0.3:
            wide = self._free(evidence, carried, window, WIDE_BAND) > 0
            pose = self._fitted(picture, pose, self._outline(wide, window))
        whole = self.silhouette.distance(window, pose)
        visible = float((free & (whole > 0)).sum()) / max(self.silhouette.area_now(), 1.0)
        self.silhouette.settle(pose, memory=0.5 if visible > 0.6 and (not self.crowded or self.age < 4) else 0.9)
        if not self.crowded:
            self._judge_shape(free, whole)
        raw += self._rigid_evidence(evidence, whole)
        # However it bends, it does not grow by a third of its size between two looks.
        raw -= SHAPE_AGAINST * (whole < -max(4.0, 0.3 * np.sqrt(self.silhouette.area_now())))
        return drop_strays(snap(picture, window, raw, self.trust), (carried[window] > 0) | (whole > 0))

    def _pose(self, picture: Picture, carried: np.ndarray, source_map: np.ndarray) -> np.ndarray:
        """The likeliest pose: explained by the flow, or carried on by inertia, whichever the colours support."""
        poses = [self.silhouette.advanced()]
        ys, xs = np.nonzero(carried)
        every = max(len(xs) // 300, 1)
        now = np.stack([xs, ys], 1)[::every].astype(np.float32)
        explained = self.silhouette.carried(now, source_map[ys[::every], xs[::every]])
        if explained is not None:
            poses.insert(0, explained)
        if len(poses) == 1 or self.trust <= 0.3:
            return poses[0]
        seen = len(xs) / max(self.silhouette.area_now(), 1.0)
        scores = [self._support(picture, pose) for pose in poses]
        if scores[1] > scores[0] + 0.1:
            return poses[1]
        # The less is seen of it, and the more of its like is near, the less the flow can be relied on.
        gain = 1.0 if self.age < 4 else min(seen, 1.0) * (0.3 if self.crowded else 1.0)
        return gain * poses[0] + (1 - gain) * poses[1]

    def _fitted(self, picture: Picture, pose: np.ndarray, outline: np.ndarray) -> np.ndarray:
        """The pose drawn to the outline that is seen; from farther off where the colours say that it was far off."""
        far = self.silhouette.fitted(pose, outline, steps=6, free=2, reach=0.4)
        if self._support(picture, far) > self._support(picture, pose) + 0.1:
            pose = far
        return self.silhouette.fitted(pose, outline, free=2 if self.crowded else 4)

    def _meets_rival(self) -> bool:
        window = self._window(self.mask, self.silhouette.pose)
        if window is None:
            return False
        near = cv2.dilate(self.mask[window].astype(np.uint8), np.ones((13, 13), np.uint8))
        return int(self.rivals[window][near > 0].sum()) > 0.04 * self.silhouette.area_now()

    def _outline(self, free: np.ndarray, window: Window) -> np.ndarray:
        """Edge points that are the object's own: neither the frame's edge nor where a rival begins."""
        points = outline_of(free, window)
        x, y = points[:, 0], points[:, 1]
        height, width = self.mask.shape
        inner = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
        points = points[inner]
        at = points.astype(int)
        rival = cv2.dilate(self.rivals[window], np.ones((5, 5), np.uint8))
        return points[rival[at[:, 1] - window[0].start, at[:, 0] - window[1].start] == 0]

    def _support(self, picture: Picture, pose: np.ndarray) -> float:
        """Mean colour evidence inside a posed silhouette less that just outside, about -2..2."""
        window = self._window(None, pose)
        if window is None:
            return -2.0
        distance = self.silhouette.distance(window, pose)
        evidence = self.colours.evidence(picture.cells[window])
        inside, rim = distance > 0, (distance <= 0) & (distance > -6)
        if not inside.any() or not rim.any():
            return -2.0
        return float(evidence[inside].mean() - evidence[rim].mean())

    def _window(self, seen: np.ndarray | None, pose: np.ndarray) -> Window | None:
        """Where to look: around the pixels that are seen and around the posed silhouette."""
        height, width = self.mask.shape
        left, top, right, bottom = self.silhouette.bounds(pose, 2)
        around = None if seen is None else crop_window(seen, REACH)
        if around is not None:
            left, right = min(left, around[1].start), max(right, around[1].stop)
            top, bottom = min(top, around[0].start), max(bottom, around[0].stop)
        left, top = max(int(left), 0), max(int(top), 0)
        right, bottom = min(int(np.ceil(right)), width), min(int(np.ceil(bottom)), height)
        if right - left < 1 or bottom - top < 1:
            return None
        return slice(top, bottom), slice(left, right)

    def _judge_shape(self, free: np.ndarray, whole: np.ndarray) -> None:
        """Lowers the trust in a rigid silhouette when the object is seen to stick out of it."""
        area = int(free.sum())
        if area:
            outside = float((free & (whole < -1.5)).sum()) / area
            change = float(np.clip(TRUST_AT_0 - TRUST_SLOPE * outside, 0, 1)) - self.trust
            self.trust += change * (0.2 if change > 0 else 0.1)

    def _believable(self, picture: Picture, soft: Soft) -> bool:
        found = soft.values > 0
        area = int(found.sum())
        if area < max(4, 0.02 * self.silhouette.area_now()):
            return False
        return float(self.colours.evidence(picture.cells[soft.window][found]).mean()) > 0.25 * self.typical

    # -- after the objects have settled who owns which pixel ----------------------------------------------------------

    def settle(self, picture: Picture, mask: np.ndarray, others: np.ndarray) -> bool:
        """Takes the mask it was granted; False if too little is left, and the object counts as hidden.

        others: bool (h, w), what the other objects were granted.
        """
        area, whole_area = int(mask.sum()), self.silhouette.area_now()
        if area < max(4, 0.02 * whole_area):
            self.hidden_for += 1
            self.mask = np.zeros_like(self.mask)
            self.rivals[others] = 1
            return False
        self.mask, self.hidden_for = mask, 0
        self.largest = max(float(area), 0.99 * self.largest)
        bent = self.trust < 0.3 and not self.crowded and 0.6 * whole_area < area < 1.4 * whole_area
        if bent or whole_area > 2.5 * self.largest:
            self._reshape(picture)
        if area > 0.5 * whole_area:
            self.colours.update(picture.cells, mask, _surround(mask), 0.05)
        self.rivals = self._rivals(picture, mask)
        self.rivals[others] = 1
        return True

    def _reshape(self, picture: Picture) -> None:
        """The object bends: what it looks like now is the silhouette from here on."""
        rate = self.silhouette.rate
        self.silhouette = Silhouette(self.mask)
        self.silhouette.rate = rate
        self.trust = 0.5
        self._calibrate(picture)

    def _fit(self, picture: Picture, mask: np.ndarray) -> float:
        """Mean colour evidence under a mask, -1..1."""
        return float(self.colours.evidence(picture.cells[mask]).mean())

    # -- what looks the same and is something else, and coming back ---------------------------------------------------

    def _alike(self, picture: Picture) -> np.ndarray:
        """Pixels that look like the object, uint8, without specks."""
        alike = (self.colours.evidence(picture.cells) > ALIKE).astype(np.uint8)
        return cv2.morphologyEx(alike, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))

    def _rivals(self, picture: Picture, mask: np.ndarray) -> np.ndarray:
        """Pixels that look like the object and are not it, uint8: never to be mistaken for its return.

        A part that touches the object counts only as far as it was a rival before they met.
        """
        alike = self._alike(picture)
        _, labels = cv2.connectedComponents(alike, connectivity=8)
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        touching = np.zeros(labels.max() + 1, bool)
        touching[labels[near]] = True
        apart = ~touching[labels]
        return (alike & (apart | ((self.rivals > 0) & ~mask))).astype(np.uint8)

    def _relocate(self, picture: Picture) -> Soft | None:
        """Slides a trusted silhouette over its surroundings just after the object was lost, as by a sudden bounce."""
        if self.trust < 0.5 or self.hidden_for > 3:
            return None
        speed = float(np.hypot(*self.silhouette.rate[:2]))
        reach = int(0.8 * np.sqrt(self.silhouette.area_now()) + speed) + 2
        left, top, right, bottom = (int(side) for side in self.silhouette.bounds(self.silhouette.pose, 7))
        distance = self.silhouette.distance((slice(top, bottom), slice(left, right)))
        inside, rim = distance > 0, (distance <= 0) & (distance > -6)
        if not inside.any() or not rim.any():
            return None
        kernel = inside / np.float32(inside.sum()) - rim / np.float32(rim.sum())
        place = (slice(top - reach, bottom + reach), slice(left - reach, right + reach))
        field = _padded(self.colours.evidence(picture.cells) - 0.5 * self.rivals, place)
        scores = cv2.matchTemplate(field, kernel.astype(np.float32), cv2.TM_CCORR)
        _, score, _, (column, row) = cv2.minMaxLoc(scores)
        if score < 0.6 * self.typical_support:
            return None
        self.silhouette.pose[:2] += column - reach, row - reach
        window = self._window(None, self.silhouette.pose)
        if window is None:
            return None
        shape = np.clip(self.silhouette.distance(window) / 2.0, -1, 1)
        return snap(picture, window, shape + COLOUR_WEIGHT * self.colours.evidence(picture.cells[window]))

    def _search(self, picture: Picture) -> Soft | None:
        """Looks for the object where it may have come back."""
        alike = self._alike(picture)
        new = cv2.morphologyEx(alike & (1 - self.rivals), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        count, labels, stats, centres = cv2.connectedComponentsWithStats(new, connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        whole = self.silhouette.area_now()
        # Slivers beside a rival are its own edge; only a part of some size can have come out from behind it.
        beside = cv2.dilate(self.rivals, np.ones((3, 3), np.uint8))
        sliver = (np.bincount(labels[beside > 0], minlength=count) > 0) & (areas < 0.3 * whole)
        sliver[0] = False
        self.rivals = alike & (self.rivals | sliver[labels])
        best, best_score = 0, 0.0
        for part in range(1, count):
            if sliver[part] or not max(6.0, 0.04 * whole) < areas[part] < 1.8 * whole:
                continue
            score = self._return_score(picture, labels == part, centres[part])
            if score > best_score:
                best, best_score = part, score
        return self._pick_up(picture, labels == best) if best_score > 0.45 else None

    def _return_score(self, picture: Picture, part: np.ndarray, centre: np.ndarray) -> float:
        """0..1: how much a part looks like the object, and how near to where it is expected it lies."""
        speed = float(np.hypot(*self.silhouette.rate[:2]))
        reach = 1.2 * np.sqrt(self.silhouette.area_now()) + 2 * speed + (2.0 + 0.5 * speed) * self.hidden_for
        away = float(np.hypot(*(centre - self.silhouette.centre))) / reach
        return self.colours.likeness(picture.cells, part) * float(np.exp(-0.5 * away**2))

    def _pick_up(self, picture: Picture, part: np.ndarray) -> Soft | None:
        """Puts the silhouette over the part that was found and lets colours draw the outline."""
        window = crop_window(part, REACH)
        if window is None:
            return None
        ys, xs = np.nonzero(part)
        outline = self._outline(part[window], window)
        there = self.silhouette.pose.copy()
        there[:2] = xs.mean(), ys.mean()
        poses = [self.silhouette.fitted(start, outline, steps=8, free=3) for start in (self.silhouette.pose, there)]
        self.silhouette.pose = max(poses, key=lambda pose: self._cover(part, pose))
        flow = np.clip(signed_distance(part[window]) / 2.0, -1, 1)
        return snap(picture, window, flow + COLOUR_WEIGHT * self.colours.evidence(picture.cells[window]))

    def _cover(self, part: np.ndarray, pose: np.ndarray) -> float:
        """Intersection over union of a part with a posed silhouette."""
        whole = self.silhouette.distance((slice(0, part.shape[0]), slice(0, part.shape[1])), pose) > 0
        return float((whole & part).sum()) / float((whole | part).sum())


def _moves_along(source_map: np.ndarray, mask: np.ndarray, window: Window) -> np.ndarray:
    """Does a pixel move with the object (1) or with its surroundings (-1)? float32; about 0 if those move alike."""
    rows, columns = window
    motion = source_map[window].copy()
    motion[..., 0] -= np.arange(columns.start, columns.stop, dtype=np.float32)
    motion[..., 1] -= np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    own = mask[window]
    if own.all() or not own.any():
        return np.zeros(own.shape, np.float32)
    with_object, with_rest = (np.median(motion[part], axis=0) for part in (own, ~own))
    apart = float(np.hypot(*(with_object - with_rest)))
    if apart < 0.5:
        return np.zeros(own.shape, np.float32)
    nearer = np.linalg.norm(motion - with_rest, axis=-1) - np.linalg.norm(motion - with_object, axis=-1)
    return np.clip(nearer / apart, -1, 1) * min(apart / 2, 1.0)


def _surround(mask: np.ndarray) -> np.ndarray:
    """Pixels around a mask: a ring about as wide as half the object."""
    reach = int(np.clip(0.5 * np.sqrt(mask.sum()), 6, 40))
    solid = mask.astype(np.uint8)
    wide = cv2.dilate(solid, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    ring = (wide > 0) & ~mask
    return ring if ring.any() else ~mask


def _padded(field: np.ndarray, window: Window) -> np.ndarray:
    """A window that may reach out of the picture; what lies outside says nothing, 0."""
    height, width = field.shape
    rows, columns = window
    cut = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    top, left = max(rows.start, 0), max(columns.start, 0)
    part = field[top : max(min(rows.stop, height), top), left : max(min(columns.stop, width), left)]
    cut[top - rows.start :, left - columns.start :][: part.shape[0], : part.shape[1]] = part
    return cut
