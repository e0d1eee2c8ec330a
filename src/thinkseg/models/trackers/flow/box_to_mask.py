"""Segments the object in a box on one frame, without weights.

GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) runs from several initial guesses; masks from color histograms,
from motion against the camera and from a watershed are further candidates. The mask that fills the box, differs most
from its surroundings, runs along edges and covers what moves is chosen.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.camera_motion import MotionCue, motion_cue
from thinkseg.models.trackers.flow.color_model import ambiguity, color_bins, histogram, histogram_overlap, log_ratio
from thinkseg.models.trackers.flow.guided_filter import apply_coefficients, as_guide, guided_coefficients
from thinkseg.models.trackers.flow.mask_geometry import dilated, extent, outline_points, signed_distance

CROP_SIDE = 240
"""Pixels of the crop's long side: GrabCut takes about 0.1 s there and 1 s at 720p. J x0.7 and x1.4: 0."""

CROP_MARGIN = 0.4
"""Surroundings in the crop on each side of the box, as a share of the box's side. J x0.7: -0.05, x1.4: -0.06."""

MIN_CROP_MARGIN = 4
"""Pixels added to that margin, for small boxes."""

COVERED_SHARE = 0.25
"""Share of a pixel's row or column that a box must cover for the pixel to be inside. J x0.7 and x1.4: 0."""

MIN_BOX_SIDE = 4
"""Pixels: a box with a smaller side is the mask."""

BOX_SLACK = 2
"""Crop pixels by which a candidate may leave the box before it is fitted to it, and by which the fit may move it. J
x0.7: -0.69, x1.4: -0.28."""

UPSAMPLE_BAND, UPSAMPLE_RADIUS, UPSAMPLE_EPS = 2.0, 2, 1e-3
"""Guided filter that enlarges the mask of a reduced crop: crop pixels of soft edge, half window, color variance."""

ELLIPSE_RADIUS = 0.84
"""Radius of the initial ellipse, 1 for the ellipse that touches the box's sides. J x0.7: -0.03, x1.4: -0.25."""

RARE_LEVELS = ((0.3, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5))
"""Initial guesses by color: log ratio (inside to outside of the box) from which a pixel is probably and surely object.
Several pairs, because how much the background shares the object's colors is unknown. J x0.7: -0.34, x1.4: -0.03."""

GRABCUT_STEPS = 3
"""Iterations of GrabCut per guess; each costs about a third of its time. J x0.7: +0.03, x1.4: -0.04."""

CENTER_WEIGHTS = (0.1, 0.3, 0.6)
"""Weight of being near the center of the box against color (-1..1), one histogram candidate for each. J x0.7 and x1.4:
0."""

CENTER_RADIUS = 0.95
"""Radius in the box at which being near the center is neutral evidence, 1 on the inscribed ellipse. J x0.7: +0.06,
x1.4: 0."""

CENTER_SLOPE = 2.0
"""Evidence for being near the center, per unit of radius. J x0.7 and x1.4: 0."""

CENTER_START = 0.3
"""Evidence for being near the center from which a pixel is in the first mask of a histogram candidate. J x0.7 and x1.4:
0."""

MOVING_PERCENTILE = 85
"""Percentile of the speeds in the box that is the object's: the box also shows background."""

MOTION_WEIGHTS = (0.3, 0.6)
"""Weight of motion against the camera against color (-1..1), one histogram candidate for each."""

CLEAR_DISTINCTNESS = (0.6, 0.7)
"""Largest distinctness of a candidate (0..1, see `_distinctness`) up to which motion fully counts, and from which on it
does not. Objects of the shapes world have 0.75 to 0.9, of 18 real objects 17 have 0.18 to 0.56."""

MOTION_POWER = 2.0
"""Exponent of the overlap with what moves in the score of a candidate, for an object that clearly moves."""

HISTOGRAM_STEPS = 4
"""Iterations of a histogram candidate. J x0.7 and x1.4: 0."""

HISTOGRAM_RANGE = 2.0
"""Log ratio (natural) of object to background that counts as full evidence in a histogram candidate. J x0.7: 0, x1.4:
-0.03."""

HISTOGRAM_RADIUS, HISTOGRAM_EPS = 4, 1e-3
"""Guided filter of a histogram candidate: half window in crop pixels, color variance of the 0..1 range. J of
HISTOGRAM_RADIUS x0.7 and x1.4: 0; of HISTOGRAM_EPS x0.7 and x1.4: 0."""

WATERSHED_SEEDS = (0.25, 0.4)
"""Radius in the box of the object's seed, one watershed candidate for each. J x0.7 and x1.4: 0."""

MIN_PART_SHARE = 0.1
"""Parts of a candidate below this share of its largest part are dropped. J x0.7 and x1.4: 0."""

MAX_HOLE_SHARE = 0.02
"""Holes below this share of the candidate's area are filled. J x0.7 and x1.4: 0."""

STRONG_EDGE_PERCENTILE = 80
"""Percentile of color contrast inside the box that counts as a full edge. J x0.7: -0.71, x1.4: -0.28."""

MIN_SOLIDITY = 0.3
"""Solidity (share of the convex hull) below which a candidate scores less: stars have 0.5, thin outlines 0.1. J x0.7
and x1.4: 0."""

MIN_SCORE = 0.03
"""Score (0..1) that the best candidate needs; otherwise the complete box is the mask. J x0.7 and x1.4: 0."""

CORNER_SHARE = 0.75
"""Share of the gap between a candidate and its box by which the candidate grows: corners protrude more than sides. J
x0.7: -0.05, x1.4: +0.05."""


def box_to_mask(rgb: np.ndarray, box: np.ndarray, speed: np.ndarray | None = None) -> np.ndarray:
    """Mask bool (H, W) of the object in a box, not empty and inside the box. Deterministic.

    rgb: uint8 (H, W, 3). box: xyxy in pixels; it must overlap the image. speed: against the camera, float32 (H, W), see
    `speed_against_camera`; None if it is unknown.
    """
    height, width = rgb.shape[:2]
    x1, y1, x2, y2 = pixel_box(box, (width, height))
    pad_x, pad_y = (int(CROP_MARGIN * side) + MIN_CROP_MARGIN for side in (x2 - x1, y2 - y1))
    left, top = max(x1 - pad_x, 0), max(y1 - pad_y, 0)
    right, bottom = min(x2 + pad_x, width), min(y2 + pad_y, height)
    window = slice(top, bottom), slice(left, right)
    inside = np.zeros((height, width), bool)
    inside[y1:y2, x1:x2] = True
    mask = np.zeros((height, width), bool)
    mask[window] = _segment(rgb[window], inside[window], None if speed is None else speed[window])
    return mask


def pixel_box(box: np.ndarray, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels that a box covers inside the frame, ends exclusive; at least one if it overlaps the frame."""
    (width, height), share = size_wh, COVERED_SHARE
    x1, y1 = int(np.clip(np.floor(box[0] + share), 0, width - 1)), int(np.clip(np.floor(box[1] + share), 0, height - 1))
    x2, y2 = int(np.clip(np.ceil(box[2] - share), x1 + 1, width)), int(np.clip(np.ceil(box[3] - share), y1 + 1, height))
    return x1, y1, x2, y2


def _segment(crop: np.ndarray, inside: np.ndarray, speed: np.ndarray | None) -> np.ndarray:
    """The best candidate at the crop's own size."""
    if min(_span(inside)) < MIN_BOX_SIDE:
        return inside
    scale = min(1.0, CROP_SIDE / max(crop.shape[:2]))
    if scale < 1.0:
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        small_inside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        small_speed = None if speed is None else cv2.resize(speed, size, interpolation=cv2.INTER_AREA)
        best = enlarged(_segment_small(small, small_inside, small_speed), small, crop)
    else:
        best = _segment_small(crop, inside, speed)
    best &= inside
    return best if best.any() else inside


def _segment_small(rgb: np.ndarray, inside: np.ndarray, speed: np.ndarray | None) -> np.ndarray:
    """The best candidate for a crop of at most CROP_SIDE pixels."""
    bins = color_bins(rgb)
    loose = dilated(inside, BOX_SLACK) > 0
    candidates = [grabcut(rgb, labels) for labels in _initial_labels(bins, loose)]
    central = np.clip(CENTER_SLOPE * (CENTER_RADIUS - _radius(loose)), -1, 1)
    candidates += [_by_histograms(rgb, bins, loose, central > CENTER_START, w * central) for w in CENTER_WEIGHTS]
    candidates += [_by_watershed(rgb, loose, radius) for radius in WATERSHED_SEEDS]
    motion = _needed_motion(speed, bins, candidates, loose)
    if motion is not None:
        moving = motion.evidence > 0
        candidates += [_by_histograms(rgb, bins, loose, moving, w * motion.evidence) for w in MOTION_WEIGHTS]
    return _best(rgb, bins, candidates, inside, motion)


def _needed_motion(
    speed: np.ndarray | None, bins: np.ndarray, candidates: list[np.ndarray], inside: np.ndarray
) -> MotionCue | None:
    """The motion of what is in the box, less reliable the better colors tell it; None if it is of no use."""
    if speed is None:
        return None
    motion = motion_cue(speed, inside, MOVING_PERCENTILE)
    distinctness = max(_distinctness(bins, mask, inside) for mask in candidates)
    motion.reliability *= ambiguity(distinctness, CLEAR_DISTINCTNESS)
    return motion if motion.reliability > 0 else None


def enlarged(mask: np.ndarray, small: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The mask of a reduced crop at the crop's size, with edges aligned to the crop."""
    soft = np.clip(signed_distance(mask) / UPSAMPLE_BAND, -1, 1)
    coefficients = guided_coefficients(as_guide(small), soft, UPSAMPLE_RADIUS, UPSAMPLE_EPS)
    return apply_coefficients(coefficients, as_guide(crop)) > 0


# -- candidates -------------------------------------------------------------------------------------------------------


def _initial_labels(bins: np.ndarray, inside: np.ndarray) -> list[np.ndarray]:
    """Initial guesses as GrabCut labels, uint8 (h, w): by position in the box, and by colors that are rare outside."""
    ellipse = inside & (_radius(inside) < ELLIPSE_RADIUS)
    nothing = np.zeros_like(inside)
    if inside.all():
        return [_label(inside, ellipse, nothing)]
    rarity = log_ratio(histogram(bins[inside]), histogram(bins[~inside]))[bins]
    guesses = [(ellipse, nothing), (inside, nothing)]
    for probable, sure in RARE_LEVELS:
        core = cv2.erode((inside & (rarity > sure)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        guesses.append((inside & (rarity > probable), core))
    return [_label(inside, probable, sure) for probable, sure in guesses if probable.any()]


def _label(inside: np.ndarray, probable: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """GrabCut labels: outside of the box is surely background."""
    labels = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~inside] = cv2.GC_BGD
    labels[sure] = cv2.GC_FGD
    return labels


def grabcut(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """GrabCut from initial labels, which it overwrites."""
    if not (labels & 1).any() or (labels & 1).all():
        return (labels & 1).astype(bool)
    cv2.setRNGSeed(0)  # GrabCut initializes its color clusters at random
    no_box = (0, 0, 0, 0)
    cv2.grabCut(rgb, labels, no_box, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_STEPS, cv2.GC_INIT_WITH_MASK)
    return _main_parts((labels & 1).astype(bool))


def _by_histograms(
    rgb: np.ndarray, bins: np.ndarray, inside: np.ndarray, start: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Alternates between histograms of object and background and the mask, from the pixels of `start` in the box on.

    prior: evidence that is added to that of the colors (-1..1).

    Complete histograms see small differences that GrabCut's five Gaussians per side do not: white fur on pale concrete.
    """
    outside = histogram(bins[~inside])
    guide = as_guide(rgb)
    mask = inside & start
    for _ in range(HISTOGRAM_STEPS):
        if not mask.any() or mask.all():
            break
        background = 0.5 * histogram(bins[~mask]) + 0.5 * outside
        table = np.clip(log_ratio(histogram(bins[mask]), background) / HISTOGRAM_RANGE, -1, 1)
        soft = np.where(inside, table[bins] + prior, -2.0)
        soft = np.clip(soft, -1.5, 1.5).astype(np.float32)
        coefficients = guided_coefficients(guide, soft, HISTOGRAM_RADIUS, HISTOGRAM_EPS)
        mask = inside & (apply_coefficients(coefficients, guide) > 0)
    return _main_parts(mask)


def _by_watershed(rgb: np.ndarray, inside: np.ndarray, seed_radius: float) -> np.ndarray:
    """Watershed between the center of the box and the outside: its line is on the strongest edges between them."""
    markers = np.where(inside, np.where(_radius(inside) < seed_radius, 2, 0), 1).astype(np.int32)
    cv2.watershed(np.ascontiguousarray(cv2.GaussianBlur(rgb, (0, 0), 1)), markers)
    # The line itself has a label of its own; half of it belongs to the object.
    return _main_parts((dilated(markers == 2, 1) > 0) & inside)


def _main_parts(mask: np.ndarray) -> np.ndarray:
    """A mask without small parts and small holes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    main = np.concatenate([[False], areas >= MIN_PART_SHARE * areas.max()])[labels]
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~main).astype(np.uint8), connectivity=4)
    holes = stats[:, cv2.CC_STAT_AREA] < MAX_HOLE_SHARE * main.sum()
    return main | holes[labels]


# -- choice of a candidate --------------------------------------------------------------------------------------------


def _best(
    rgb: np.ndarray,
    bins: np.ndarray,
    candidates: list[np.ndarray],
    inside: np.ndarray,
    motion: MotionCue | None = None,
) -> np.ndarray:
    """The candidate with a high score that other candidates with high scores agree with; the box if none is good."""
    # A candidate may lie only in the slack around the box.
    fitted = [_fit_to_box(mask, inside) for mask in candidates if (mask & inside).any()]
    if not fitted:
        return inside
    contrast = edge_contrast(rgb)
    strong = max(float(np.percentile(contrast[inside], STRONG_EDGE_PERCENTILE)), 1.0)
    outlines = [outline_points(mask) for mask in fitted]
    scores = np.array([_distinctness(bins, mask, inside) for mask in fitted])
    scores *= [edge_share(points, contrast, strong) for points in outlines]
    scores *= [min(solidity(mask, points) / MIN_SOLIDITY, 1.0) for mask, points in zip(fitted, outlines, strict=True)]
    if scores.max() <= MIN_SCORE:
        return inside
    if motion is not None:
        moving = np.clip(0.5 + 0.5 * motion.evidence, 0, 1)[inside]
        scores *= [soft_iou(mask[inside], moving) ** (MOTION_POWER * motion.reliability) for mask in fitted]
    ious = np.array([[(one & other).sum() / (one | other).sum() for other in fitted] for one in fitted])
    return fitted[int(np.argmax(scores * np.sqrt(ious @ scores)))]


def _fit_to_box(mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The mask grown or shrunk evenly to span the box.

    Where colors do not decide on the edge, as on the two sides of a dark outline, the box does.
    """
    (top, bottom, left, right), (box_top, box_bottom, box_left, box_right) = extent(mask), extent(inside)
    height, width = mask.shape
    gaps = [
        gap
        for gap, at_border in (
            (box_top - top, box_top == 0),
            (bottom - box_bottom, box_bottom == height),
            (box_left - left, box_left == 0),
            (right - box_right, box_right == width),
        )
        if not at_border  # the object may continue beyond the frame
    ]
    # The median, because an uneven gap is no question of where the edge is.
    change = CORNER_SHARE * float(np.median(gaps)) if gaps else 0.0
    fitted = (signed_distance(mask) > np.clip(change, -BOX_SLACK, BOX_SLACK)) & inside
    return fitted if fitted.any() else mask & inside


def _span(mask: np.ndarray) -> tuple[int, int]:
    """Height and width of a mask's bounding box, 0 for an empty mask."""
    if not mask.any():
        return 0, 0
    top, bottom, left, right = extent(mask)
    return bottom - top, right - left


def _radius(inside: np.ndarray) -> np.ndarray:
    """Distance from the center of the box, 1 on the ellipse that touches its sides, float64 (h, w)."""
    ys, xs = np.nonzero(inside)
    center_y, center_x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    half_y, half_x = np.ptp(ys) / 2 + 0.5, np.ptp(xs) / 2 + 0.5
    grid_y, grid_x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    return np.hypot((grid_y - center_y) / half_y, (grid_x - center_x) / half_x)


def _distinctness(bins: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> float:
    """0..1: how much of the box the mask spans, times how different its colors are from those around it."""
    if mask.all() or not mask.any():
        return 0.0
    spans = [min(a / b, 1.0) for a, b in zip(_span(mask), _span(inside), strict=True)]
    return spans[0] * spans[1] * (1.0 - histogram_overlap(histogram(bins[mask]), histogram(bins[~mask])))


def soft_iou(mask: np.ndarray, probable: np.ndarray) -> float:
    """Intersection over union of a mask, bool (N,), with probabilities (N,)."""
    return float(np.minimum(mask, probable).sum() / max(float(np.maximum(mask, probable).sum()), 1e-6))


def edge_contrast(rgb: np.ndarray) -> np.ndarray:
    """Strongest change of color within a pixel of each pixel, in Lab levels per pixel, float32 (h, w)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    slopes = [cv2.Sobel(lab, cv2.CV_32F, *order) / 4 for order in ((1, 0), (0, 1))]
    return cv2.dilate(np.sqrt(sum((slope**2).sum(-1) for slope in slopes)), np.ones((3, 3), np.uint8))


def edge_share(points: np.ndarray, contrast: np.ndarray, strong: float) -> float:
    """Share (0..1) of an outline (N, 2) that runs along edges of the image, without its border."""
    height, width = contrast.shape
    within = (points > 0).all(1) & (points < (width - 1, height - 1)).all(1)
    x, y = points[within].T
    return float(np.clip(contrast[y, x] / strong, 0, 1).mean()) if len(x) else 1.0


def solidity(mask: np.ndarray, points: np.ndarray) -> float:
    """Share (0..1) of the convex hull of its outline (N, 2) that a mask covers: low for a mere outline."""
    hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1)
    return float(mask.sum() / hull.sum())
