"""Masks packed eight pixels to a byte: mask arrays or run lengths in, strings of bits out.

A packed mask is one string of bits, uint64 (words,): line after line without gaps, the first pixel in the lowest bit
of the first word, zeros behind the last. Lines are the rows of an array, but the columns of a mask in run lengths,
which is how those are written. Numba compiles what walks through bits and runs, once a machine: see `numba_cached`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np

from thinkseg.rle import Rle

_SPARE_WORDS = 2
"""Words of zeros behind a mask, so that 64 bits can be read from any of its pixels on."""


def numba_cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of numbers and arrays with Numba when it is first called, and keeps that for other processes.

    Kept beside the source, or in the user's cache folder where that is read-only; $NUMBA_CACHE_DIR is asked first. What
    a compiled function calls is compiled into it. Both must stand in one file, because only its own file's changes are
    noticed.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # No folder can be written to: every process compiles for itself.
        return numba.njit(nogil=True)(function)


def blank(pixels: int) -> np.ndarray:
    """The bits of a mask of so many pixels that has nothing inside."""
    return np.zeros(pixels // 64 + _SPARE_WORDS, np.uint64)


def pack(mask: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Writes one mask, bool or uint8 (H, W), row by row to bits made by `blank`; anything but 0 is inside.

    Returns these bits, which can be used again for another mask of the size: making them anew takes as long as packing.
    """
    packed = np.packbits(mask, bitorder="little")
    bits.view(np.uint8)[: len(packed)] = packed
    return bits


def pack_columns(mask: np.ndarray) -> np.ndarray:
    """The bits of one mask, bool or uint8 (H, W), column by column, as `pack_runs` has them."""
    import cv2

    return pack(cv2.transpose(mask.view(np.uint8)), blank(mask.size))


def pack_runs(rles: Iterable[Rle], size_wh: tuple[int, int]) -> np.ndarray:
    """The bits of the union of masks in compressed run lengths, column by column.

    Raises ValueError if one is not of this size or its runs do not fill it.
    """
    width, height = size_wh
    bits = blank(width * height)
    for rle in rles:
        counts = rle["counts"]
        symbols = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
        if list(rle["size"]) != [height, width] or not _fill(bits, symbols, width * height):
            raise ValueError(f"run lengths of size {rle['size']} do not make a mask of [{height}, {width}]")
    return bits


@numba_cached
def _fill(bits, symbols, pixels):
    """Sets the bits inside a mask of so many pixels; False if the symbols of its counts do not spell one.

    `thinkseg.rle` explains how runs are written. Whatever the symbols are, nothing outside `bits` is touched.
    """
    position = number = place = index = older = newer = 0
    for symbol in symbols:
        group = int(symbol) - 48
        if group < 0 or group > 63 or place > 30:
            return False
        number |= (group & 31) << place
        place += 5
        if group & 32:
            continue
        run = number - ((group >> 4 & 1) << place) + (older if index > 2 else 0)
        if run < 0 or run > pixels - position:
            return False
        if index & 1:
            _set(bits, position, position + run)
        position += run
        older, newer = newer, run
        number = place = 0
        index += 1
    return place == 0 and position == pixels


@numba_cached
def _set(bits, start, stop):
    """Sets the bits from `start` up to and without `stop`."""
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
