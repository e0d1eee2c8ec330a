"""Encodes masks as COCO's compressed RLE, decodes them, and validates RLEs of other sources.

An RLE is {"size": [height, width], "counts": str}. The counts are the lengths of alternating runs of 0s and 1s in
column-major order. From the fourth run on, the difference to the run two before is stored. Numbers are written in
groups of five bits. RLEs from outside (a data set, a request) are validated once, by `checked`.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

Rle = Mapping[str, Any]
"""A mask in COCO's compressed RLE: {"size": [height, width], "counts": str}."""

MAX_PIXELS = 1 << 28
"""Largest valid mask, 16384 x 16384: a few bytes of RLE could otherwise allocate any size."""

_MAX_GROUPS = 7
"""Five-bit groups per number: 35 bits hold every run of a mask of MAX_PIXELS, and every difference of two."""


def encode(mask: np.ndarray) -> Rle:
    """Encodes a mask, bool or uint8 (H, W). Nonzero pixels are inside.

    Raises ValueError for another shape or dtype, or a side of 0.
    """
    if mask.ndim != 2 or mask.size == 0 or mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"a mask must be bool or uint8 (H, W), not empty; got {mask.dtype} {mask.shape}")
    import cv2
    from pycocotools import mask as coco

    # RLEs are column-major. Transposing with OpenCV makes encoding four times as fast.
    transposed = cv2.transpose((mask != 0).view(np.uint8))
    rle = coco.encode(transposed.T)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: Rle) -> np.ndarray:
    """Decodes an RLE to a mask, bool (H, W), in C order. Raises ValueError as `checked` does."""
    import cv2

    height, width = _size(rle)
    runs = _runs(rle, height * width)
    inside = np.arange(len(runs), dtype=np.uint8) & 1
    return cv2.transpose(np.repeat(inside, runs).reshape(width, height)).view(np.bool_)


def rle_area(rle: Rle) -> int:
    """Returns the area of an RLE in pixels, without decoding it. Raises ValueError as `checked` does."""
    height, width = _size(rle)
    return int(_runs(rle, height * width)[1::2].sum())


def rle_box(rle: Rle) -> tuple[int, int, int, int] | None:
    """Returns the tight box of a valid RLE, xyxy in pixels, without decoding it; None if it is empty."""
    from pycocotools import mask as coco

    x, y, width, height = (int(side) for side in coco.toBbox(dict(rle)))
    return (x, y, x + width, y + height) if width else None


def checked(rle: Any, size_wh: tuple[int, int] | None = None) -> Rle:
    """Validates an RLE. Counts in bytes are converted to str.

    Raises ValueError if it is not a compressed RLE, if its runs do not fill its size, or if its size is not `size_wh`.
    """
    height, width = _size(rle)
    if size_wh is not None and (width, height) != tuple(size_wh):
        raise ValueError(f"RLE mask is {width}x{height}, not {size_wh[0]}x{size_wh[1]}")
    _runs(rle, height * width)
    counts = rle["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def from_runs(size: Any, runs: list[Any]) -> Rle:
    """Compresses the run lengths of a mask, alternating outside and inside, in column order. size: [height, width].

    Raises ValueError if the runs are not integers >= 0 that fill the size.
    """
    height, width = _size({"size": size})
    if any(type(run) is not int or not 0 <= run <= height * width for run in runs) or sum(runs) != height * width:
        raise ValueError(f"RLE runs do not fill a mask of {height * width} pixels")
    from pycocotools import mask as coco

    rle = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def to_runs(rle: Rle) -> Rle:
    """Returns an RLE whose counts are a list of run lengths, the inverse of `from_runs`. Raises ValueError as it."""
    height, width = _size(rle)
    return {"size": [height, width], "counts": _runs(rle, height * width).tolist()}


def _size(rle: Any) -> tuple[int, int]:
    """Returns the valid (height, width) of an RLE."""
    try:
        height, width = (index(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("an RLE mask needs a 'size' of [height, width]") from None
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"RLE mask has the invalid size {width}x{height}")
    return height, width


def _runs(rle: Any, pixels: int) -> np.ndarray:
    """Returns the run lengths of an RLE, int64 (R,), alternating outside and inside, with the sum `pixels`."""
    differences = _numbers(_symbols(rle.get("counts")))
    # From the fourth on, run i is stored as the difference to run i - 2: even and odd runs are cumulative sums.
    runs = differences.copy()
    runs[1::2] = np.cumsum(differences[1::2])
    runs[2::2] = np.cumsum(differences[2::2])
    # With every run bounded, the sum cannot overflow.
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"RLE runs do not fill a mask of {pixels} pixels")
    return runs


def _symbols(counts: object) -> np.ndarray:
    """Converts counts to uint8 symbols of 6 bits: five bits of a number, and 32 if the number continues."""
    if isinstance(counts, str):
        # Non-ASCII characters, also lone surrogates, become bytes outside the alphabet, which are rejected below.
        counts = counts.encode("utf-8", "surrogatepass")
    if not isinstance(counts, bytes):
        raise ValueError(f"RLE counts must be a compressed string, not {type(counts).__name__}")
    symbols = np.frombuffer(counts, np.uint8) - np.uint8(48)
    if len(symbols) == 0 or symbols.max() > 63 or symbols[-1] & 32:
        raise ValueError("RLE counts are empty, truncated, or have characters outside '0'..'o'")
    return symbols


def _numbers(symbols: np.ndarray) -> np.ndarray:
    """Decodes groups of symbols, least significant first, to signed numbers, int64."""
    ends = np.flatnonzero((symbols & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise ValueError(f"RLE counts have a number of more than {5 * _MAX_GROUPS} bits")
    position = np.arange(len(symbols)) - np.repeat(starts, lengths)
    values = np.add.reduceat((symbols & 31).astype(np.int64) << (5 * position), starts)
    negative = (symbols[ends] & 16) != 0
    return values - (negative.astype(np.int64) << (5 * lengths))
