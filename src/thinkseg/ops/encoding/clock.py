"""When the frames of a written video are shown, in whole units of time that an MP4 file can state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thinkseg.errors import VideoError

_MAX_TICKS = 2**31 - 1
"""The longest time in an MP4 file between two frames, and between decoding and showing one, in its units."""

_MAX_SPAN = _MAX_TICKS // 2
"""The longest video with frames at uneven times: a frame may be decoded that much earlier than shown, twice."""

_MAX_DELAY = 8
"""More frames than x264 reorders."""

_FINE_SCALE, _COARSE_SCALE = 90_000, 10_000
"""Units of time per second: for frames at uneven times, and the least for even ones, which players may rely on."""


class Clock(NamedTuple):
    """When frames are shown.

    ticks: the time of each frame in units of 1 / `scale` seconds, ascending.
    rate: frames per second. A last frame shorter than a unit of time would not be shown.
    """

    scale: int
    ticks: Iterable[int]
    rate: Fraction


def clock_of(fps: float, times: Sequence[float] | None, path: Path) -> Clock:
    """Returns the clock of a video at a frame rate, or of frames at the times given, in seconds.

    Raises VideoError, which names the file `path`, for a rate or times that no file can have.
    """
    if not 1e-8 <= fps <= 1e9:
        raise VideoError(f"cannot write {path} at {fps!r} frames per second; give a number from 1e-8 to 1e9")
    rate = _simple_fraction(fps)
    scale, ticks = _even(rate) if times is None else _uneven(times, path)
    return Clock(scale, ticks, min(rate, Fraction(scale)))


def _simple_fraction(fps: float) -> Fraction:
    if fps < 1:
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    return Fraction(fps).limit_denominator(1001)


def _even(rate: Fraction) -> tuple[int, Iterable[int]]:
    """Units that divide the time between two frames, and the ticks of all frames."""
    most = _MAX_TICKS // (_MAX_DELAY * rate.denominator)
    factor = max(1, min(math.ceil(_COARSE_SCALE / rate.numerator), most))
    return rate.numerator * factor, itertools.count(0, rate.denominator * factor)


def _uneven(times: Sequence[float], path: Path) -> tuple[int, Iterable[int]]:
    """Units and ticks that are as exact as an MP4 file of this length can be."""
    seconds = np.asarray(times, float)
    seconds = seconds - seconds[0]
    if not (np.diff(seconds) >= 0).all() or seconds[-1] > _MAX_SPAN:
        raise VideoError(f"cannot write {path}: its frames are at times that do not ascend, or span more than 34 years")
    scale = min(_FINE_SCALE, _MAX_SPAN // max(1, math.ceil(seconds[-1])))
    ticks = np.rint(seconds * scale).astype(np.int64)
    # Times that are equal in these units become distinct.
    steps = np.arange(len(ticks))
    return scale, (np.maximum.accumulate(ticks - steps) + steps).tolist()
