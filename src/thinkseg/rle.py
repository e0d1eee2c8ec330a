"""Masks and their run lengths: bool arrays in, COCO's compressed RLE out, and back.

A run-length mask is {"size": [height, width], "counts": str}: the lengths of the runs of 0s and 1s in turn, columns
first, each but the first three as the difference to the run two before it, written in groups of five bits. Masks from
elsewhere (a data set, a request) go through `checked` once, at the door; everything behind it may trust them.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

Rle = Mapping[str, Any]
"""One mask in COCO's compressed run lengths: {"size": [height, width], "counts": str}."""

MAX_PIXELS = 1 << 28
"""Largest mask believed: 16384 x 16384. A few bytes of RLE can claim any size, so the claim is bounded."""

_MAX_GROUPS = 7
"""Five-bit groups in one number: 35 bits hold any run of a mask of MAX_PIXELS, and any difference of two."""


def encode(mask: np.ndarray) -> Rle:
    """Run lengths of one mask, bool or uint8 (H, W); anything but 0 is inside.

    Raises ValueError for another shape, another type or a side of 0.
    """
    if mask.ndim != 2 or mask.size == 0 or mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"a mask must be bool or uint8 (H, W) without empty sides, not {mask.dtype} {mask.shape}")
    import cv2
    from pycocotools import mask as coco

    # Runs go down the columns. Encoding rows costs four times as much as turning the mask with OpenCV first.
    turned = cv2.transpose((mask != 0).view(np.uint8))
    rle = coco.encode(turned.T)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: Rle) -> np.ndarray:
    """The mask of one RLE, bool (H, W), C order. Raises ValueError where `checked` would."""
    import cv2

    height, width = _size(rle)
    runs = _runs(rle, height * width)
    inside = np.arange(len(runs), dtype=np.uint8) & 1
    return cv2.transpose(np.repeat(inside, runs).reshape(width, height)).view(np.bool_)


def rle_area(rle: Rle) -> int:
    """Pixels inside the mask of one RLE, counted without decoding it. Raises ValueError where `checked` would."""
    height, width = _size(rle)
    return int(_runs(rle, height * width)[1::2].sum())


def checked(rle: Any, size_wh: tuple[int, int] | None = None) -> Rle:
    """A mask from elsewhere as an RLE that can be trusted; counts in bytes become str.

    Raises ValueError if it is not a compressed RLE, its runs do not add up to its size, or its size is not `size_wh`.
    """
    height, width = _size(rle)
    if size_wh is not None and (width, height) != tuple(size_wh):
        raise ValueError(f"RLE mask is {width}x{height} where {size_wh[0]}x{size_wh[1]} is expected")
    _runs(rle, height * width)
    counts = rle["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _size(rle: Any) -> tuple[int, int]:
    """(height, width) that an RLE claims, within reason."""
    try:
        height, width = (index(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("an RLE mask needs a 'size' of [height, width]") from None
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"RLE mask claims an impossible size of {width}x{height}")
    return height, width


def _runs(rle: Any, pixels: int) -> np.ndarray:
    """Lengths of the runs of an RLE, int64 (R,), outside and inside in turn; they add up to `pixels`."""
    differences = _numbers(_symbols(rle.get("counts")))
    # Run i is written as the difference to run i - 2 from the fourth on; undoing that is a sum along each parity.
    runs = differences.copy()
    runs[1::2] = np.cumsum(differences[1::2])
    runs[2::2] = np.cumsum(differences[2::2])
    # Bounding each run first keeps the total far from overflowing.
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"RLE runs do not fill the mask of {pixels} pixels they belong to")
    return runs


def _symbols(counts: object) -> np.ndarray:
    """The counts string as uint8 symbols of 6 bits: five of the number, and 32 where more of it follows."""
    if isinstance(counts, str):
        # Whatever is not ASCII, lone surrogates included, becomes bytes above the alphabet and is refused with them.
        counts = counts.encode("utf-8", "surrogatepass")
    if not isinstance(counts, bytes):
        raise ValueError(f"RLE counts must be a compressed string, not {type(counts).__name__}")
    symbols = np.frombuffer(counts, np.uint8) - np.uint8(48)
    if len(symbols) == 0 or symbols.max() > 63 or symbols[-1] & 32:
        raise ValueError("RLE counts are empty, cut short, or hold characters outside '0'..'o'")
    return symbols


def _numbers(symbols: np.ndarray) -> np.ndarray:
    """The signed numbers, int64, that groups of symbols spell, least significant group first."""
    ends = np.flatnonzero((symbols & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise ValueError("RLE counts hold an absurdly large number")
    place = np.arange(len(symbols)) - np.repeat(starts, lengths)
    values = np.add.reduceat((symbols & 31).astype(np.int64) << (5 * place), starts)
    negative = (symbols[ends] & 16) != 0
    return values - (negative.astype(np.int64) << (5 * lengths))
