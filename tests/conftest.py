"""What all tests share: one thread, no time limits that a busy machine would break, and a small video in memory."""

import os

# Before anything loads torch, which reads it once and is too slow to load for tests that do without it. With two
# threads on a busy machine one small forward pass can take ten times as long as with one.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import pytest
from hypothesis import settings

cv2.setNumThreads(1)
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


class Film:
    """A video in memory; frame i is filled with grey level i. `reads` lists the frames that were asked for."""

    def __init__(self, num_frames: int = 30, size_wh: tuple[int, int] = (8, 6), fps: float | None = 10.0) -> None:
        self.name = "film"
        self.size_wh = size_wh
        self.fps = fps
        self.num_frames = num_frames
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.num_frames:
            raise IndexError(index)
        self.reads.append(index)
        width, height = self.size_wh
        return np.full((height, width, 3), index, np.uint8)

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (self[index] for index in indices)

    def time_of(self, index: int) -> float | None:
        return None if self.fps is None else index / self.fps


@pytest.fixture(scope="session")
def film() -> Callable[..., Film]:
    """Makes videos: film(num_frames, size_wh, fps)."""
    return Film
