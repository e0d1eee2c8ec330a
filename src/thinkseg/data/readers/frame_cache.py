"""Caches decoded frames in memory while several questions about one video are answered.

Questions about a video follow each other, and decoding the video for each of them costs more than some trackers. So
frames are kept within a byte budget once they are read, and `decoded_ahead` reads them in one pass on another thread;
other frames are decoded on each access. The cache keeps the frames that are read first and evicts none: trackers read a
video from end to end, so an evicted frame would be the next one needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import numpy as np

from thinkseg.data.readers.wrapped_frames import WrappedFrames
from thinkseg.types import Frames

CACHE_BYTES = 2 << 30
"""Decoded frames in memory, of all videos in use: 1,700 frames at 480p, 340 at 1080p."""


class ByteBudget:
    """A number of bytes that several videos share; thread-safe."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._lock = threading.Lock()

    def take(self, amount: int) -> bool:
        """Takes `amount` bytes if they are free, and returns whether they were."""
        with self._lock:
            enough = amount <= self._free
            self._free -= amount if enough else 0
            return enough

    def give(self, amount: int) -> None:
        """Returns bytes to the budget."""
        with self._lock:
            self._free += amount


class CachedFrames(WrappedFrames):
    """A video whose frames stay in memory once they are read. Thread-safe. Pickles as the video without a cache.

    Several callers share an array, which is read-only. The bytes return to the budget on `release`, or when the object
    is deleted.
    """

    def __init__(self, inner: Frames, budget: ByteBudget) -> None:
        super().__init__(inner)
        self._budget = budget
        self._cached: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()  # a video file has one decoder

    def __reduce__(self) -> tuple[Any, ...]:
        return _unchanged, (self._inner,)

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Frees the frames. Those that are read from now on stay in memory again."""
        cached, self._cached = self._cached, {}
        self._budget.give(sum(frame.nbytes for frame in cached.values()))

    def fill(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Reads all frames in order. Raises VideoError if the video is invalid.

        Frames beyond the budget are decoded too, so that an invalid one is found before a model is prompted.
        stopped: returns whether the frames are no longer needed.
        """
        for _ in self.read(range(len(self))):
            if stopped():
                return

    def __getitem__(self, index: int) -> np.ndarray:
        frame = self._cached.get(index)
        if frame is not None:
            return frame
        with self._lock:
            return self._kept(index, self._inner[index])

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        cached = self._cached
        found = {index: cached[index] for index in indices if index in cached} if cached else {}
        others = self._inner.read([index for index in indices if index not in found] if found else indices)
        for index in indices:
            if index in found:
                yield found[index]
            else:
                with self._lock:
                    frame = self._kept(index, next(others))
                yield frame

    def _kept(self, index: int, frame: np.ndarray) -> np.ndarray:
        """Keeps a frame that fits into the budget."""
        if index not in self._cached and self._budget.take(frame.nbytes):
            frame.setflags(write=False)
            self._cached[index] = frame
        return frame


def _unchanged(frames: Frames) -> Frames:
    return frames


def decoded_ahead(videos: Sequence[Callable[[], Frames]]) -> Generator[Future[CachedFrames], None, None]:
    """Opens videos in order and decodes each on another thread, while the caller works on the one before.

    A future is done when it is yielded; its `result` raises what opening or decoding the video raised. Of each video,
    frames are cached that fit into `CACHE_BYTES`, which the videos in use share.
    """
    budget, stopped = ByteBudget(CACHE_BYTES), threading.Event()

    def decoded(open_video: Callable[[], Frames]) -> CachedFrames:
        frames = CachedFrames(open_video(), budget)
        frames.fill(stopped.is_set)
        return frames

    with ThreadPoolExecutor(1, "decode") as thread, ExitStack() as leaving:
        # A caller that leaves, as after Ctrl-C, does not wait for the end of the next video.
        leaving.callback(stopped.set)
        coming = [thread.submit(decoded, video) for video in videos[:1]]
        for position in range(len(videos)):
            ready = coming.pop()
            # The next one starts when this one is done, so that at most one video is decoded ahead.
            wait([ready])
            coming = [thread.submit(decoded, video) for video in videos[position + 1 : position + 2]]
            yield ready
