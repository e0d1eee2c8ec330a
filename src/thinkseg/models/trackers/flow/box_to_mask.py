"""From a box to a mask in one picture, without weights.

In: a picture uint8 RGB (H, W, 3) and a box xyxy in its pixels. Out: bool (H, W), never empty, inside the box.
GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) is started from several guesses; masks grown by colour and by
watershed stand beside. The result that fills the box, differs most from its surroundings and runs along edges wins.
"""

from __future__ import annotations

import cv2
import numpy as np

from thinkseg.models.trackers.flow.color_model import colour_cells, histogram, overlap
from thinkseg.models.trackers.flow.guided_filter import (
    apply_coefficients,
    as_guide,
    guided_coefficients,
    outline_points,
    signed_distance,
)

LONGEST_SIDE = 240
"""Pixels of the working picture's long side: GrabCut takes about 0.1 s there and 1 s at 720p."""

CENTRE_WEIGHTS = (0.1, 0.3, 0.6)
"""How much being in the middle of the box counts, against colour, in the guesses that are grown from there."""

CORES = (0.25, 0.4)
"""How much of the box's middle surely belongs to the object, in the guesses that are flooded from there."""

LEAST_SOLID = 0.3
"""Solidity below which a mask is doubted: stars have a half, thin outlines a tenth."""

SLACK = 2
"""Working pixels that a guess may reach over the box before it is fitted to it."""

MARGIN = 0.4
"""Surroundings shown to GrabCut on each side of the box, as a share of the box's side."""


def cut_out(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mask of the object that a box encloses, bool (H, W). Deterministic; box must reach into the picture."""
    height, width = rgb.shape[:2]
    x1, y1, x2, y2 = pixel_box(box, (width, height))
    pad_x, pad_y = (int(MARGIN * side) + 4 for side in (x2 - x1, y2 - y1))
    left, top = max(x1 - pad_x, 0), max(y1 - pad_y, 0)
    right, bottom = min(x2 + pad_x, width), min(y2 + pad_y, height)
    crop = rgb[top:bottom, left:right]
    inside = np.zeros(crop.shape[:2], bool)
    inside[y1 - top : y2 - top, x1 - left : x2 - left] = True
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = _segment(crop, inside)
    return mask


def pixel_box(box: np.ndarray, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels a box covers, clipped to the frame; at least one pixel when the box reaches into the frame."""
    width, height = size_wh
    x1, y1 = int(np.clip(np.floor(box[0] + 0.25), 0, width - 1)), int(np.clip(np.floor(box[1] + 0.25), 0, height - 1))
    x2, y2 = int(np.clip(np.ceil(box[2] - 0.25), x1 + 1, width)), int(np.clip(np.ceil(box[3] - 0.25), y1 + 1, height))
    return x1, y1, x2, y2


def _segment(crop: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Best of the GrabCut runs, at the crop's own size."""
    if min(_span(inside)) < 4:
        return inside
    scale = min(1.0, LONGEST_SIDE / max(crop.shape[:2]))
    small, small_inside = crop, inside
    if scale < 1.0:
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        small_inside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    cells = colour_cells(small)
    loose = cv2.dilate(small_inside.astype(np.uint8), np.ones((2 * SLACK + 1, 2 * SLACK + 1), np.uint8)) > 0
    tries = [_grabcut(small, labels) for labels in _labels(cells, loose)]
    tries += [_grown(small, cells, loose, weight) for weight in CENTRE_WEIGHTS]
    tries += [_flooded(small, loose, core) for core in CORES]
    best = _best(small, cells, tries, small_inside)
    if scale < 1.0:
        soft = np.clip(signed_distance(best) / 2.0, -1, 1)
        coefficients = guided_coefficients(as_guide(small), soft, 2, 1e-3)
        best = apply_coefficients(coefficients, as_guide(crop)) > 0
    best &= inside
    return best if best.any() else inside


def _best(rgb: np.ndarray, cells: np.ndarray, guesses: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """The guess that is good by itself and that the other good ones come close to; the whole box if none is good."""
    # One may lie in the slack around the box alone.
    fitted = [_fit_to_box(mask, inside) for mask in guesses if (mask & inside).any()]
    if not fitted:
        return inside
    contrast = _contrast(rgb)
    strong = max(float(np.percentile(contrast[inside], 80)), 1.0)
    outlines = [outline_points(mask) for mask in fitted]
    good = np.array([_quality(cells, mask, inside) for mask in fitted])
    good *= [_edge_share(points, contrast, strong) for points in outlines]
    good *= [min(_solidity(mask, points) / LEAST_SOLID, 1.0) for mask, points in zip(fitted, outlines, strict=True)]
    if good.max() <= 0.03:
        return inside
    alike = np.array([[(one & other).sum() / (one | other).sum() for other in fitted] for one in fitted])
    return fitted[int(np.argmax(good * np.sqrt(alike @ good)))]


def _fit_to_box(mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The mask grown or shrunk evenly to span the box.

    Where colours leave the edge open, as on the two sides of a dark outline, the box still tells where it runs.
    """
    (top, bottom, left, right), (box_top, box_bottom, box_left, box_right) = _extent(mask), _extent(inside)
    height, width = mask.shape
    over = [
        beyond
        for beyond, cut in (
            (box_top - top, box_top == 0),
            (bottom - box_bottom, box_bottom == height),
            (box_left - left, box_left == 0),
            (right - box_right, box_right == width),
        )
        if not cut  # at the frame's edge the object may go on
    ]
    # Corners stick out farther than sides, hence the 0.75; an uneven misfit is no matter of the edge.
    change = 0.75 * float(np.median(over)) if over else 0.0
    fitted = (signed_distance(mask) > np.clip(change, -SLACK, SLACK)) & inside
    return fitted if fitted.any() else mask & inside


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a mask that is not empty, ends exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _span(mask: np.ndarray) -> tuple[int, int]:
    """Height and width of a mask's bounding box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if len(rows) else (0, 0)


def _labels(cells: np.ndarray, inside: np.ndarray) -> list[np.ndarray]:
    """First guesses as GrabCut labels, uint8: from colours rare outside the box, and from places inside it."""
    ellipse = inside & (_radius(inside) < 0.84)
    nothing = np.zeros_like(inside)
    if inside.all():
        return [_label(inside, ellipse, nothing)]
    rare = _novelty(cells, inside)
    guesses = [(ellipse, nothing), (inside, nothing)]
    for likely, certain in ((0.3, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5)):
        core = cv2.erode((inside & (rare > certain)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        guesses.append((inside & (rare > likely), core))
    return [_label(inside, likely, certain) for likely, certain in guesses if likely.any()]


def _radius(inside: np.ndarray) -> np.ndarray:
    """Distance from the middle of the box, 1 on the ellipse that touches its sides, float64 (h, w)."""
    ys, xs = np.nonzero(inside)
    centre_y, centre_x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    half_y, half_x = np.ptp(ys) / 2 + 0.5, np.ptp(xs) / 2 + 0.5
    grid_y, grid_x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    return np.hypot((grid_y - centre_y) / half_y, (grid_x - centre_x) / half_x)


def _grown(rgb: np.ndarray, cells: np.ndarray, inside: np.ndarray, centre_weight: float) -> np.ndarray:
    """Colours of object and surroundings told apart in turns, starting from the middle of the box.

    Whole histograms see small differences that GrabCut's five Gaussians a side do not: white fur on pale concrete.
    """
    central = np.clip(2 * (0.95 - _radius(inside)), -1, 1)
    outside = histogram(cells[~inside])
    guide = as_guide(rgb)
    mask = inside & (central > 0.3)
    for _ in range(4):
        if not mask.any() or mask.all():
            break
        floor = 2e-4
        other = 0.5 * histogram(cells[~mask]) + 0.5 * outside
        table = np.clip(np.log((histogram(cells[mask]) + floor) / (other + floor)) / 2, -1, 1)
        soft = np.where(inside, table[cells] + centre_weight * central, -2.0)
        soft = np.clip(soft, -1.5, 1.5).astype(np.float32)
        mask = inside & (apply_coefficients(guided_coefficients(guide, soft, 4, 1e-3), guide) > 0)
    return _main_parts(mask)


def _flooded(rgb: np.ndarray, inside: np.ndarray, core: float) -> np.ndarray:
    """Where floods from the middle of the box and from outside of it meet: on the strongest edges between them."""
    markers = np.where(inside, np.where(_radius(inside) < core, 2, 0), 1).astype(np.int32)
    cv2.watershed(np.ascontiguousarray(cv2.GaussianBlur(rgb, (0, 0), 1)), markers)
    shores = cv2.dilate((markers == 2).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # the line itself is neither's
    return _main_parts(shores & inside)


def _label(inside: np.ndarray, likely: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """GrabCut labels: outside the box is certainly not the object, the core of the guess certainly is."""
    labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~inside] = cv2.GC_BGD
    labels[certain] = cv2.GC_FGD
    return labels


def _grabcut(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if not (labels & 1).any() or (labels & 1).all():
        return (labels & 1).astype(bool)
    cv2.setRNGSeed(0)  # its colour clusters are drawn at random
    no_box = (0, 0, 0, 0)
    cv2.grabCut(rgb, labels, no_box, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    return _main_parts((labels & 1).astype(bool))


def _main_parts(mask: np.ndarray) -> np.ndarray:
    """Drops specks: parts under a tenth of the largest one; fills pinholes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.concatenate([[False], areas >= 0.1 * areas.max()])[labels]
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    holes = stats[:, cv2.CC_STAT_AREA] < 0.02 * kept.sum()
    return kept | holes[labels]


def _quality(cells: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> float:
    """0..1: how fully the mask spans the box, times how different its colours are from all around it."""
    if mask.all():
        return 0.0
    spans = [min(a / b, 1.0) for a, b in zip(_span(mask), _span(inside), strict=True)]
    return spans[0] * spans[1] * (1.0 - overlap(histogram(cells[mask]), histogram(cells[~mask])))


def _contrast(rgb: np.ndarray) -> np.ndarray:
    """Strongest change of colour within a pixel of each pixel, in Lab levels a pixel, float32 (h, w)."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    slopes = [cv2.Sobel(lab, cv2.CV_32F, *order) / 4 for order in ((1, 0), (0, 1))]
    return cv2.dilate(np.sqrt(sum((slope**2).sum(-1) for slope in slopes)), np.ones((3, 3), np.uint8))


def _edge_share(points: np.ndarray, contrast: np.ndarray, strong: float) -> float:
    """0..1: how far an outline (N, 2) runs along edges of the picture; where the picture ends is no outline."""
    height, width = contrast.shape
    within = (points > 0).all(1) & (points < (width - 1, height - 1)).all(1)
    x, y = points[within].T
    return float(np.clip(contrast[y, x] / strong, 0, 1).mean()) if len(x) else 1.0


def _solidity(mask: np.ndarray, points: np.ndarray) -> float:
    """Share of the hull of its outline (N, 2) that a mask covers, 0..1; little for an outline without its object."""
    hull = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1)
    return float(mask.sum() / hull.sum())


def _novelty(cells: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Log ratio of a colour's share within the box to its share around it, per pixel; 0 where there is no around."""
    if inside.all():
        return np.zeros(cells.shape)
    return np.log((histogram(cells[inside]) + 2e-4) / (histogram(cells[~inside]) + 2e-4))[cells]
