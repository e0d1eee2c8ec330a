"""The base of videos that are another video with a difference: other times, a cache, a part of the frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from thinkseg.types import Frames, Part


class WrappedFrames:
    """The frames of another video. Satisfies `types.Frames`, and has what is known of the other's files as well.

    path: its file or folder. file_names: of its frames. comment: a tag of its file. part: where its frames are in their
        source. None or "" where it has none.
    """

    def __init__(self, inner: Frames) -> None:
        self._inner = inner
        self.name = inner.name
        self.size_wh = inner.size_wh
        self.fps = inner.fps
        self.path: Path | None = getattr(inner, "path", None)
        self.file_names: Sequence[str] | None = getattr(inner, "file_names", None)
        self.part: Part | None = getattr(inner, "part", None)
        self.comment: str = getattr(inner, "comment", "")

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._inner[index]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return self._inner.read(indices)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(index)
