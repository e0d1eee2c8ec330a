"""Segments the object at points on one frame, without weights.

The size of the object is unknown: GrabCut grows a region from the points within several distances, and from what moves
like them. The region whose outline runs along edges, whose colors differ from those around it, and which has room to
end where it ends is chosen. What the points show is fixed in all of them.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.box_to_mask import (
    MIN_SOLIDITY,
    edge_contrast,
    edge_share,
    enlarged,
    grabcut,
    soft_iou,
    solidity,
)
from thinkseg.models.trackers.flow.color_model import color_bins, histogram, histogram_overlap
from thinkseg.models.trackers.flow.mask_geometry import crop_window, dilated, outline_points, signed_distance

WORKING_SIDE = 200
"""Pixels of the long side at which regions are grown, for speed."""

SEED_RADIUS = 2
"""Working pixels around a point that are as the point."""

REACHES = (0.05, 0.08, 0.12, 0.18, 0.27)
"""Distances from the points, as shares of the long side, up to which a first guess is object; one region for each."""

LIMIT = 2.5
"""Distance, in reaches, beyond which a region does not grow."""

MOVING_LIMIT = 20
"""Working pixels by which a region may exceed what moves like the points."""

SURROUNDINGS = 8
"""Working pixels around a region with whose colors its own are compared."""

STRONG_EDGE_PERCENTILE = 90
"""Percentile of color contrast that counts as a full edge."""

CHANGED_RADIUS = 3.0
"""Distance from a point that corrects a mask up to which it changes it, in distances of the point from the edge."""

MIN_SPEED, FULL_SPEED = 0.3, 1.0
"""Working pixels of the tracker per frame by which the points move faster than the rest: motion is no cue below the
first, a full one from the second on."""


def points_to_mask(
    rgb: np.ndarray, points: np.ndarray, labels: np.ndarray, speed: np.ndarray | None = None
) -> np.ndarray:
    """Mask bool (H, W) of the object at points, not empty. Deterministic.

    rgb: uint8 (H, W, 3). points: (P, 2), xy in pixels of the frame; labels: (P,), 1 on the object, at least one, and 0
    beside it. speed: against the camera, float32 (H, W), see `speed_against_camera`; None if it is unknown.
    """
    small, on, beside = _reduced(rgb, points, labels)
    guesses = _guesses_near(on)
    moving = None if speed is None else _Moving.of(cv2.resize(speed, on.shape[::-1], interpolation=cv2.INTER_AREA), on)
    if moving is not None:
        near = _touching((moving.share > 0.5) & ~beside | on, on)
        guesses.append((near, dilated(near, MOVING_LIMIT) > 0))
    regions = [_grown(small, probable, within, on, beside) for probable, within in guesses]
    scores = _scores(small, regions, [within for _, within in guesses])
    if moving is not None:
        scores *= [soft_iou(region, moving.share) ** moving.reliability for region in regions]
    ious = np.array([[(one & other).sum() / (one | other).sum() for other in regions] for one in regions])
    # A region that others agree with is more likely an object.
    best = regions[int(np.argmax(scores * np.sqrt(ious @ scores)))]
    return _with_points(best if small.shape == rgb.shape else enlarged(best, small, rgb), points, labels > 0)


def refined_by_points(rgb: np.ndarray, mask: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A mask that agrees with points: what grows from those that it lacks is added, and from those that it should lack
    removed. The farther a point is from the mask's edge, the larger the part that it changes, see `CHANGED_RADIUS`; it
    ends where points of the other label are nearer. Arguments as in `points_to_mask`.
    """
    x, y = points.astype(int).T
    on, edge = labels > 0, signed_distance(mask)
    refined = mask
    for wrong, is_added in ((on & ~mask[y, x], True), (~on & mask[y, x], False)):
        if wrong.any():
            others = points[on != is_added]
            known = np.concatenate([points[wrong], others])
            grown = points_to_mask(rgb, known, np.repeat([1, 0], [wrong.sum(), len(others)]))
            distances = _distances(points[wrong], mask.shape)
            near = distances <= CHANGED_RADIUS * np.abs(edge[y[wrong], x[wrong]])[:, None, None]
            nearest = distances.min(axis=0) < _distances(others, mask.shape).min(axis=0, initial=np.inf)
            changed = grown & near.any(axis=0) & nearest
            refined = refined | changed if is_added else refined & ~changed
    return _with_points(refined, points, on)


def _distances(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels to each of points (P, 2), float32 (P, h, w)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.array([np.hypot(columns - x, rows - y) for x, y in points], np.float32).reshape(-1, *shape)


def _reduced(rgb: np.ndarray, points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frame at working size, and which of its pixels surely are object and surely are not, bool (h, w)."""
    scale = min(1.0, WORKING_SIDE / max(rgb.shape[:2]))
    width, height = (max(round(side * scale), 1) for side in rgb.shape[1::-1])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    seeds = []
    for label in (1, 0):
        seed = np.zeros((height, width), np.uint8)
        for x, y in points[labels == label] * (width, height) / rgb.shape[1::-1]:
            cv2.circle(seed, (int(x), int(y)), SEED_RADIUS, 1, cv2.FILLED)
        seeds.append(seed > 0)
    on, beside = seeds
    return small, on, beside & ~on


def _guesses_near(on: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """First guesses around the points, each with the pixels it may grow to."""
    distance = cv2.distanceTransform((~on).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    reaches = [share * max(on.shape) for share in REACHES]
    return [(distance <= reach, distance <= LIMIT * reach) for reach in reaches]


def _grown(rgb: np.ndarray, probable: np.ndarray, within: np.ndarray, on: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """GrabCut from a first guess: its parts that touch the points."""
    labels = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~within | beside] = cv2.GC_BGD
    labels[on] = cv2.GC_FGD
    window = crop_window(within | on, pad=1)
    assert window is not None  # there is a point
    region = on.copy()
    region[window] |= grabcut(np.ascontiguousarray(rgb[window]), np.ascontiguousarray(labels[window]))
    return _touching(region, on)


def _touching(region: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The parts of a region, bool (h, w), that have pixels of others."""
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    return region & np.isin(parts, np.unique(parts[anchors & region]))


def _scores(rgb: np.ndarray, regions: list[np.ndarray], limits: list[np.ndarray]) -> np.ndarray:
    """How much like an object each region is, >= 0, by edges, colors, shape, and how little its limit cuts it off."""
    bins, contrast = color_bins(rgb), edge_contrast(rgb)
    strong = max(float(np.percentile(contrast, STRONG_EDGE_PERCENTILE)), 1.0)
    scores = []
    for region, within in zip(regions, limits, strict=True):
        points = outline_points(region)
        around = (dilated(region, SURROUNDINGS) > 0) & ~region
        overlap = histogram_overlap(histogram(bins[region]), histogram(bins[around])) if around.any() else 1.0
        cut = (dilated(~within, 1) > 0)[points[:, 1], points[:, 0]].mean()
        shape = min(solidity(region, points) / MIN_SOLIDITY, 1.0)
        scores.append(edge_share(points, contrast, strong) * max(1 - overlap, 0) * (1 - cut) * shape)
    # If none is good, the smallest counts.
    return np.array(scores) + np.geomspace(1e-6, 1e-9, len(scores))


class _Moving:
    """What moves like the points. share: float32 (h, w) in 0..1. reliability: 0..1, how clearly they move."""

    def __init__(self, share: np.ndarray, reliability: float) -> None:
        self.share = share
        self.reliability = reliability

    @classmethod
    def of(cls, speed: np.ndarray, on: np.ndarray) -> _Moving | None:
        own, rest = float(np.median(speed[on])), float(np.median(speed))
        reliability = float(np.clip((own - rest - MIN_SPEED) / (FULL_SPEED - MIN_SPEED), 0, 1))
        if reliability == 0:
            return None
        return cls(np.clip((speed - rest) / (own - rest), 0, 1), reliability)


def _with_points(mask: np.ndarray, points: np.ndarray, on: np.ndarray) -> np.ndarray:
    """A copy of a mask whose pixels at points (P, 2) are as these are, `on` the object or not, bool (P,)."""
    x, y = points.astype(int).T
    mask = mask.copy()
    mask[y, x] = on
    return mask
