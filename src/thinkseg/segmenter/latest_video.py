"""The video that was asked about last stays open, with the frames that were read, for further questions about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames
from thinkseg.data.readers.frame_rates import RATE_FILE, FrameTimes, Rates
from thinkseg.data.readers.video_window import Window
from thinkseg.types import Frames


class LatestVideo:
    """Opens videos and keeps the latest one. max_bytes: of its frames in memory."""

    def __init__(self, max_bytes: int) -> None:
        self._budget = ByteBudget(max_bytes)
        self._key: object = None
        self._kept: tuple[CachedFrames, FrameTimes] | None = None

    def open(self, video: Any, rates: Rates, window: Window) -> tuple[Frames, FrameTimes]:
        """Returns the frames of a video in a window, with times if their rate is known, and what is known about these.

        They are the objects of the last call if the video is the same, see `_identity`. Raises what `open_frames`,
        `Rates` and `Window` raise.
        """
        from thinkseg.ops.inputs import open_frames

        identity = _identity(video)
        key = None if identity is None else (identity, rates, window)
        if self._kept is not None and key == self._key:
            return self._kept
        opened = open_frames(video)
        times, frames = rates.times_of(opened), window.of(rates.timed(opened))
        if key is None:
            return frames, times
        if self._kept is not None:
            # A result may keep the video for much longer.
            self._kept[0].release()
        self._key, self._kept = key, (CachedFrames(frames, self._budget), times)
        return self._kept


def _identity(video: Any) -> object:
    """Equal for the same open frames, and for a path whose files have not changed in size or time.

    None for anything else, such as an array, which may have other content at each call.
    """
    from thinkseg.ops.inputs import is_frames

    if is_frames(video):
        return id(video)  # not used again while the video is kept
    if not isinstance(video, str | os.PathLike):
        return None
    try:
        path = Path(video)
        return path.absolute(), [(file, stat.st_size, stat.st_mtime_ns) for file, stat in _files(path)]
    except (OSError, ValueError):  # reported when the video is opened
        return None


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files that decide the frames of a path and their rate."""
    yield str(path), os.stat(path)
    if not os.path.isdir(path):
        return
    with os.scandir(path) as entries:
        yield from sorted((entry.name, entry.stat()) for entry in entries)
    if (path.parent / RATE_FILE).exists():
        yield RATE_FILE, os.stat(path.parent / RATE_FILE)
