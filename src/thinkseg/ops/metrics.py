"""Region similarity J and contour accuracy F of DAVIS 2017, bit-identical to the reference implementation.

J is the IoU of the regions. F is the F-measure of the contours, where a contour pixel is matched if the other contour
is within 0.8 % of the frame's diagonal (Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv 1704.00675). Two empty
masks have J = F = 1. The contour lies between a pixel and its right, lower and lower-right neighbors, so the frame's
edge is never contour and a full mask has none: a full and an empty mask have J = 0 and F = 1.

`thinkseg.ops.contours` counts 64 pixels at a time, and works on RLEs without decoding them to arrays.
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
"""Distance within which contour pixels match, as a fraction of the frame's diagonal; rounded up to full pixels."""


def j_and_f(predicted: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns J and F per frame, float64 (T,) each, of masks, bool or uint8 (T, H, W). Nonzero pixels are inside.

    void: pixels to exclude from both masks, of the same shape and types.

    Raises ValueError if shapes differ or are not (T, H, W), or for another dtype.
    """
    videos = (predicted, truth) if void is None else (predicted, truth, void)
    if truth.ndim != 3 or any(video.shape != truth.shape for video in videos):
        shapes = " and ".join(str(video.shape) for video in videos)
        raise ValueError(f"masks must have the same shape (T, H, W), not {shapes}")
    if any(video.dtype not in (np.bool_, np.uint8) for video in videos):
        raise ValueError(f"masks must be bool or uint8, not {' and '.join(str(video.dtype) for video in videos)}")
    _, height, width = truth.shape
    widths = _half_widths(tolerance_px(height, width))
    pred, true, ignored = (blank(height * width) for _ in range(3))
    counts = []
    for frame in range(len(truth)):
        pack(predicted[frame], pred)
        pack(truth[frame], true)
        if void is not None:
            valid = ~pack(void[frame], ignored)
            pred &= valid
            true &= valid
        counts.append(count_pixels(pred, true, width, height, widths))
    return scores(counts)


def masklets_j_and_f(
    predicted: Masklets, truth: Masklets, frames: Iterable[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns J and F per frame, float64 (F,) each, of the merged objects, without decoding RLEs to arrays.

    frames: indices of the frames to score (default: all).

    Raises ValueError if sizes or numbers of frames differ, or if an RLE has another size.
    """
    pairs = _packed_pairs(predicted, truth, frames)
    return scores([compare_packed(pred, true, truth.size_wh) for pred, true in pairs])


def packed(masklets: Masklets, frame: int) -> np.ndarray:
    """Packs the merged objects of a frame by columns."""
    rles = (track[frame] for track in masklets.rles)
    return pack_runs((rle for rle in rles if rle is not None), masklets.size_wh)


def packed_area(bits: np.ndarray) -> int:
    """Returns the area of a packed mask in pixels."""
    return int(np.bitwise_count(bits).sum())


def compare_packed(pred: np.ndarray, true: np.ndarray, size_wh: tuple[int, int]) -> tuple[int, ...]:
    """Returns the counts of `thinkseg.ops.contours.count_pixels` for two masks packed by columns.

    Raises ValueError if the masks differ in size.
    """
    if pred.shape != true.shape:
        raise ValueError(f"packed masks must have the same size, not {pred.shape} and {true.shape}")
    width, height = size_wh
    # RLEs are column-major, so the lines are columns.
    return count_pixels(pred, true, height, width, _half_widths(tolerance_px(height, width)))


def areas(predicted: Masklets, truth: Masklets, frames: Iterable[int] | None = None) -> np.ndarray:
    """Returns the pixels in both and in either of the merged objects, per frame, int64 (F, 2).

    Arguments and errors are those of `masklets_j_and_f`.
    """
    counts = [count_overlap(pred, true) for pred, true in _packed_pairs(predicted, truth, frames)]
    return np.array(counts, np.int64).reshape(-1, 2)


def tolerance_px(height: int, width: int) -> int:
    """Returns the distance in pixels within which contour pixels match: 8 at 480p, 18 at 1080p."""
    return math.ceil(TOLERANCE * math.sqrt(height**2 + width**2))


def _packed_pairs(
    predicted: Masklets, truth: Masklets, frames: Iterable[int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the merged objects of both per frame, packed by columns."""
    if (predicted.size_wh, predicted.num_frames) != (truth.size_wh, truth.num_frames):
        pred, true = ("{}x{} with {} frames".format(*one.size_wh, one.num_frames) for one in (predicted, truth))
        raise ValueError(f"masklets must have the same size and number of frames, not {pred} and {true}")
    for frame in range(truth.num_frames) if frames is None else frames:
        yield packed(predicted, frame), packed(truth, frame)


def scores(frame_counts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns J and F, float64 (F,) each, from counts of `compare_packed` per frame.

    The order of operations is that of the reference implementation.
    """
    counts = np.array(frame_counts, np.int64).reshape(-1, 6).T
    both, either, pred_contour, true_contour, pred_near, true_near = counts
    j = _share(both, either, np.ones(len(both)))
    precision = _share(pred_near, pred_contour, np.zeros(len(both)))
    recall = _share(true_near, true_contour, np.zeros(len(both)))
    without_contours = ((pred_contour == 0) & (true_contour == 0)).astype(np.float64)
    return j, _share(2 * precision * recall, precision + recall, without_contours)


def _share(part: np.ndarray, total: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Returns part / total, and `default` where total is 0."""
    return np.divide(part, total, out=default, where=total > 0)


@lru_cache(maxsize=16)
def _half_widths(radius: int) -> np.ndarray:
    """Returns the half widths of a disk, 0 to `radius` lines from its center, int64 (radius + 1,)."""
    return np.array([math.isqrt(radius**2 - distance**2) for distance in range(radius + 1)], np.int64)
