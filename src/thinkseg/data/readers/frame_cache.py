"""Caches decoded frames in memory while several questions about one video are answered.

Questions about a video follow each other, and decoding the video for each of them costs more than some trackers. So
the frames are decoded once, in one pass on another thread, and kept within a byte budget; other frames are decoded on
access. The cache keeps frames from the first one on and evicts none: trackers read a video from end to end, so an
evicted frame would be the next one needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack

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
    """A video with its first frames in memory.

    The bytes return to the budget when the object is deleted.
    """

    def __init__(self, inner: Frames, budget: ByteBudget) -> None:
        super().__init__(inner)
        self._budget = budget
        self._cached: list[np.ndarray] = []

    def __del__(self) -> None:
        self._budget.give(sum(frame.nbytes for frame in self._cached))

    def fill(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Decodes all frames in order and caches those that fit. Raises VideoError if the video is invalid.

        Frames beyond the budget are decoded too, so that an invalid one is found before a model is prompted.
        stopped: returns whether the frames are no longer needed.
        """
        caching = True
        for frame in self._inner.read(range(len(self))):
            if stopped():
                return
            caching = caching and self._budget.take(frame.nbytes)
            if caching:
                # Several callers share the array.
                frame.setflags(write=False)
                self._cached.append(frame)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._cached[index] if 0 <= index < len(self._cached) else self._inner[index]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        others = self._inner.read([index for index in indices if not 0 <= index < len(self._cached)])
        for index in indices:
            yield self._cached[index] if 0 <= index < len(self._cached) else next(others)


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
