"""Frames kept in memory while several questions are asked about them: a video in, the same video out.

Questions about one video follow each other, and decoding it for each of them again would cost more than some trackers.
So its frames are decoded once, in one pass and on another thread, and kept as long as they fit; those that do not fit
are decoded when they are asked for. Frames are kept from the first one on, because trackers walk through a video from
end to end, and what is thrown out to make room would be what is wanted next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from thinkseg.types import Frames


class Budget:
    """Bytes that several videos share."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._lock = threading.Lock()

    def take(self, amount: int) -> bool:
        """Takes some if there are as many."""
        with self._lock:
            enough = amount <= self._free
            self._free -= amount if enough else 0
            return enough

    def give(self, amount: int) -> None:
        """Gives back what was taken."""
        with self._lock:
            self._free += amount


class CachedFrames:
    """A video whose frames are decoded once, as far as the budget goes. Satisfies `types.Frames`.

    fps: frames a second, evenly spaced, for a video that carries no times; one that does keeps its own.
    What was taken from the budget goes back when the video is no longer used.
    """

    def __init__(self, inner: Frames, budget: Budget, fps: float | None = None) -> None:
        self._inner = inner
        self._budget = budget
        self._kept: list[np.ndarray] = []
        self.name = inner.name
        self.size_wh = inner.size_wh
        self._added_fps = fps if inner.fps is None else None
        self.fps = inner.fps or fps

    def __del__(self) -> None:
        self._budget.give(sum(frame.nbytes for frame in self._kept))

    def fill(self) -> None:
        """Decodes the video from the first frame to the last, and keeps what fits. Raises VideoError if it is broken.

        All of it is decoded, so that what is broken is known before a model is asked.
        """
        keeping = True
        for frame in self._inner.read(range(len(self))):
            keeping = keeping and self._budget.take(frame.nbytes)
            if keeping:
                # Shared from now on: nobody may paint on it.
                frame.setflags(write=False)
                self._kept.append(frame)

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._kept[index] if 0 <= index < len(self._kept) else self._inner[index]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        others = self._inner.read([index for index in indices if not 0 <= index < len(self._kept)])
        for index in indices:
            yield self._kept[index] if 0 <= index < len(self._kept) else next(others)

    def time_of(self, index: int) -> float | None:
        time = self._inner.time_of(index)
        return index / self._added_fps if self._added_fps else time
