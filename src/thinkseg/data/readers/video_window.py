"""A part of a video: the frames from one moment to another, every n-th of them, scaled down."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.data.readers.wrapped_frames import WrappedFrames
from thinkseg.errors import SettingsError
from thinkseg.ops.frame_folder import checked_index
from thinkseg.types import Frames, Part

Moment = int | float
"""A frame index (int), or a time in seconds (float)."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a video is used.

    start, end: the first frame, and the first one behind the last; beyond the end of the video, its end is meant.
    stride: one of so many frames is used. max_side: the longest side in pixels to which frames are scaled down.
    """

    start: Moment = 0
    end: Moment | None = None
    stride: int = 1
    max_side: int | None = None

    def of(self, video: Frames) -> Frames:
        """Returns the part of a video; the video itself if that is all of it.

        Raises SettingsError if no frame is in the window, or if it is stated in seconds and the video has no times.
        """
        stop = len(video) if self.end is None else _index_at(video, self.end)
        indices = range(_index_at(video, self.start), stop, self.stride)
        if not indices:
            end = "" if self.end is None else f" to {_text(self.end)}"
            raise SettingsError(f"{video.name}: has no frame from {_text(self.start)}{end}; it has {_extent(video)}")
        size_wh = scaled(video.size_wh, self.max_side)
        if indices == range(len(video)) and size_wh == video.size_wh:
            return video
        return VideoWindow(video, indices, size_wh)


class VideoWindow(WrappedFrames):
    """Some frames of a video, `indices` of it, in the size `size_wh`. Times are those of the source.

    part: where they are in the source. Satisfies `types.Frames`.
    """

    def __init__(self, inner: Frames, indices: range, size_wh: tuple[int, int]) -> None:
        super().__init__(inner)
        self.part = Part(indices, len(inner), inner.size_wh)
        self.size_wh = size_wh
        self.fps = None if inner.fps is None else inner.fps / indices.step
        if self.file_names:
            self.file_names = tuple(self.file_names[index] for index in indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return _resized(self._inner[self._source_index(index)], self.size_wh)

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for frame in self._inner.read([self._source_index(index) for index in indices]):
            yield _resized(frame, self.size_wh)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(self._source_index(index))

    @property
    def _indices(self) -> range:
        assert self.part is not None
        return self.part.indices

    def _source_index(self, index: int) -> int:
        return self._indices[checked_index(index, len(self))]


def scaled(size_wh: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Returns a size, scaled down so that its longest side is at most `max_side`."""
    width, height = size_wh
    scale = 1.0 if max_side is None else min(1.0, max_side / max(size_wh))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(frame: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    if frame.shape[1::-1] == size_wh:
        return frame
    import cv2

    return cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA)


def _index_at(video: Frames, moment: Moment) -> int:
    """Returns the first frame at or after a moment; the number of frames beyond the end."""
    if isinstance(moment, int):
        return min(moment, len(video))
    if video.time_of(0) is None:
        raise SettingsError(f"{video.name}: has no times to find {_text(moment)} by; give its fps, or a frame index")
    return bisect_left(range(len(video)), moment, key=lambda index: video.time_of(index) or 0.0)


def _text(moment: Moment) -> str:
    return f"frame {moment}" if isinstance(moment, int) else f"{moment:g} s"


def _extent(video: Frames) -> str:
    last = video.time_of(len(video) - 1)
    return f"{len(video)} frames" + ("" if last is None else f", the last one at {last:.2f} s")
