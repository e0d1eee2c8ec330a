"""Region similarity J and contour accuracy F of DAVIS 2017, bit for bit: two mask videos in, two arrays out.

J is the intersection over union of the regions. F is the F-measure of the contours, where a contour pixel counts as
found if the other contour passes within 0.8 % of the frame's diagonal (Perazzi et al., CVPR 2016; Pont-Tuset et al.,
arXiv 1704.00675). The definition has corners that matter for comparing numbers: two empty masks score 1 in both; the
contour lies between a pixel and its right, lower and lower-right neighbours, so the frame's own edge is never contour
and a full mask has none: F is 1 between a full and an empty mask while J is 0.

Pixels are counted 64 at a time, by `thinkseg.ops.contours`. Run lengths need not become arrays for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from thinkseg.ops.bitmasks import blank, pack, pack_runs
from thinkseg.ops.contours import count_overlap, count_pixels
from thinkseg.types import Masklets

TOLERANCE = 0.008
"""Distance within which contours agree, as a share of the frame's diagonal; rounded up to whole pixels."""


def j_and_f(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """J and F of each frame, float64 (T,) each, of bool or uint8 (T, H, W) videos; anything but 0 is inside.

    void: pixels that belong to neither mask whatever those say, of the same shape.

    The score of an expression is the mean over all its frames; several objects are merged before scoring.
    Raises ValueError if the shapes differ or are not (T, H, W), or for another type of array.
    """
    videos = (predicted, truth) if void is None else (predicted, truth, void)
    if truth.ndim != 3 or any(video.shape != truth.shape for video in videos):
        shapes = " and ".join(str(video.shape) for video in videos)
        raise ValueError(f"masks to compare must share a shape (T, H, W): got {shapes}")
    if any(video.dtype not in (np.bool_, np.uint8) for video in videos):
        raise ValueError(f"masks must be bool or uint8, not {' and '.join(str(video.dtype) for video in videos)}")
    _, height, width = truth.shape
    widths = _half_widths(tolerance_px(height, width))
    ours, true, unknown = (blank(height * width) for _ in range(3))
    tallies = []
    for frame in range(len(truth)):
        pack(predicted[frame], ours)
        pack(truth[frame], true)
        if void is not None:
            known = ~pack(void[frame], unknown)
            ours &= known
            true &= known
        tallies.append(count_pixels(ours, true, width, height, widths))
    return scores(tallies)


def masklets_j_and_f(
    predicted: Masklets, truth: Masklets, frames: Iterable[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """J and F of the merged objects in some frames, float64 (F,) each, without turning run lengths into arrays.

    frames: which of them, all if left out. Where a benchmark's truth is sparse, those are `Expression.scored`.

    Raises ValueError if the two are not of one size and length, or run lengths are not of that size.
    """
    pairs = _both_merged(predicted, truth, frames)
    return scores([compare_packed(ours, true, truth.size_wh) for ours, true in pairs])


def packed(masklets: Masklets, frame: int) -> np.ndarray:
    """The merged objects of one frame as `pack_runs` packs them, by columns."""
    rles = (track[frame] for track in masklets.rles)
    return pack_runs((rle for rle in rles if rle is not None), masklets.size_wh)


def packed_area(bits: np.ndarray) -> int:
    """Pixels inside a packed mask."""
    return int(np.bitwise_count(bits).sum())


def compare_packed(ours: np.ndarray, true: np.ndarray, size_wh: tuple[int, int]) -> tuple[int, ...]:
    """What `scores` takes of one frame, counted on two masks packed by columns; first the pixels in both and in either.

    The others are the pixels on our contour and on the true one, and those of each that are near the other. Raises
    ValueError if the masks differ in size.
    """
    if ours.shape != true.shape:
        raise ValueError(f"packed masks to compare must be of one size: got {ours.shape} and {true.shape}")
    width, height = size_wh
    # Run lengths go down the columns, so the columns are the lines.
    return count_pixels(ours, true, height, width, _half_widths(tolerance_px(height, width)))


def areas(predicted: Masklets, truth: Masklets, frames: Iterable[int] | None = None) -> np.ndarray:
    """Pixels that the merged objects of both share, and of either, in some frames, int64 (F, 2).

    Arguments and errors as of `masklets_j_and_f`.
    """
    counts = [count_overlap(ours, true) for ours, true in _both_merged(predicted, truth, frames)]
    return np.array(counts, np.int64).reshape(-1, 2)


def tolerance_px(height: int, width: int) -> int:
    """Distance in pixels within which two contours agree in a frame of this size: 8 at 480p, 18 at 1080p."""
    return math.ceil(TOLERANCE * math.sqrt(height**2 + width**2))


def _both_merged(
    predicted: Masklets, truth: Masklets, frames: Iterable[int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The bits of both, frame by frame."""
    if (predicted.size_wh, predicted.num_frames) != (truth.size_wh, truth.num_frames):
        ours, true = ("{}x{} with {} frames".format(*one.size_wh, one.num_frames) for one in (predicted, truth))
        raise ValueError(f"masklets to compare must share size and length: got {ours} and {true}")
    for frame in range(truth.num_frames) if frames is None else frames:
        yield packed(predicted, frame), packed(truth, frame)


def scores(tallies: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """J and F, float64 (F,) each, from the counts of each frame, in the order of operations of the definition."""
    counts = np.array(tallies, np.int64).reshape(-1, 6).T
    both, either, on_ours, on_true, ours_near, true_near = counts
    j = _share(both, either, np.ones(len(both)))
    precision = _share(ours_near, on_ours, np.zeros(len(both)))
    recall = _share(true_near, on_true, np.zeros(len(both)))
    without_contours = ((on_ours == 0) & (on_true == 0)).astype(np.float64)
    return j, _share(2 * precision * recall, precision + recall, without_contours)


def _share(part: np.ndarray, whole: np.ndarray, of_nothing: np.ndarray) -> np.ndarray:
    """part / whole, and where the whole is 0 what is said of nothing."""
    return np.divide(part, whole, out=of_nothing, where=whole > 0)


@lru_cache(maxsize=16)
def _half_widths(radius: int) -> np.ndarray:
    """How far a disk of this radius reaches to either side, 0 to `radius` lines from its centre, int64."""
    return np.array([math.isqrt(radius**2 - distance**2) for distance in range(radius + 1)], np.int64)
