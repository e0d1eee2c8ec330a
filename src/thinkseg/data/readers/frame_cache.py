"""Caches decoded frames in memory while several expressions about one video are answered.

Expressions about a video follow each other, and decoding the video for each of them costs more than some trackers. So
the frames are decoded once, in one pass on another thread, and kept within a byte budget; other frames are decoded on
access. The cache keeps frames from the first one on and evicts none: trackers read a video from end to end, so an
evicted frame would be the next one needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from thinkseg.types import Frames


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


class CachedFrames:
    """A video with its first frames in memory. Satisfies `types.Frames`.

    The bytes return to the budget when the object is deleted.
    """

    def __init__(self, inner: Frames, budget: ByteBudget) -> None:
        self._inner = inner
        self._budget = budget
        self._cached: list[np.ndarray] = []
        self.name = inner.name
        self.size_wh = inner.size_wh
        self.fps = inner.fps

    def __del__(self) -> None:
        self._budget.give(sum(frame.nbytes for frame in self._cached))

    def fill(self) -> None:
        """Decodes all frames in order and caches those that fit. Raises VideoError if the video is invalid.

        Frames beyond the budget are decoded too, so that an invalid one is found before a model is prompted.
        """
        caching = True
        for frame in self._inner.read(range(len(self))):
            caching = caching and self._budget.take(frame.nbytes)
            if caching:
                # Several callers share the array.
                frame.setflags(write=False)
                self._cached.append(frame)

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._cached[index] if 0 <= index < len(self._cached) else self._inner[index]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        others = self._inner.read([index for index in indices if not 0 <= index < len(self._cached)])
        for index in indices:
            yield self._cached[index] if 0 <= index < len(self._cached) else next(others)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(index)
