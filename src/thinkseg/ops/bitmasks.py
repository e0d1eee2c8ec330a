"""Packs masks, arrays or RLEs, to one bit per pixel.

A packed mask is an array uint64 (words,): line after line without gaps, the first pixel in the lowest bit of the first
word, zeros after the last pixel. Lines are the rows of a mask array, but the columns of an RLE, which is column-major.
Loops over bits and runs are compiled with Numba, see `numba_cached`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np

from thinkseg.rle import Rle

_SPARE_WORDS = 2
"""Words of zeros after a mask, so that 64 bits can be read from every pixel on."""


def numba_cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function with Numba at its first call, and caches the machine code on disk for other processes.

    The cache is in $NUMBA_CACHE_DIR (default: next to the source, or the user's cache folder if that is read-only). A
    compiled function must be in the same file as the compiled functions it calls: the cache is invalidated by changes
    of its own file only.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # No folder is writable, so every process compiles again.
        return numba.njit(nogil=True)(function)


def blank(pixels: int) -> np.ndarray:
    """Returns a packed mask of `pixels` zeros."""
    return np.zeros(pixels // 64 + _SPARE_WORDS, np.uint64)


def pack(mask: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Packs a mask, bool or uint8 (H, W), by rows into `bits` and returns them. Nonzero pixels are inside.

    bits: made by `blank`; reuse them for masks of the same size, because allocation takes as long as packing.
    """
    packed = np.packbits(mask, bitorder="little")
    bits.view(np.uint8)[: len(packed)] = packed
    return bits


def pack_columns(mask: np.ndarray) -> np.ndarray:
    """Packs a mask, bool or uint8 (H, W), by columns, as `pack_runs` does."""
    import cv2

    return pack(cv2.transpose(mask.view(np.uint8)), blank(mask.size))


def pack_runs(rles: Iterable[Rle], size_wh: tuple[int, int]) -> np.ndarray:
    """Packs the union of masks in compressed RLE by columns.

    Raises ValueError if an RLE has another size, or if its runs do not fill that size.
    """
    width, height = size_wh
    bits = blank(width * height)
    for rle in rles:
        counts = rle["counts"]
        symbols = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
        if list(rle["size"]) != [height, width] or not _fill(bits, symbols, width * height):
            raise ValueError(f"RLE of size {rle['size']} is not a mask of size [{height}, {width}]")
    return bits


@numba_cached
def _fill(bits, symbols, pixels):
    """Sets the bits of a mask from the symbols of its counts. Returns False if they are not a mask of `pixels` pixels.

    `thinkseg.rle` documents the format of counts. Invalid symbols never cause a write outside `bits`.
    """
    position = number = shift = index = older = newer = 0
    for symbol in symbols:
        group = int(symbol) - 48
        if group < 0 or group > 63 or shift > 30:
            return False
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        run = number - ((group >> 4 & 1) << shift) + (older if index > 2 else 0)
        if run < 0 or run > pixels - position:
            return False
        if index & 1:
            _set(bits, position, position + run)
        position += run
        older, newer = newer, run
        number = shift = 0
        index += 1
    return shift == 0 and position == pixels


@numba_cached
def _set(bits, start, stop):
    """Sets the bits `start` to `stop` - 1."""
    if start == stop:
        return
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    first, last = start >> 6, (stop - 1) >> 6
    from_start, to_stop = ones << np.uint64(start & 63), ones >> np.uint64(63 - ((stop - 1) & 63))
    if first == last:
        bits[first] |= from_start & to_stop
        return
    bits[first] |= from_start
    for word in range(first + 1, last):
        bits[word] = ones
    bits[last] |= to_stop
