"""Opens video files, folders of frames and arrays as `thinkseg.types.Frames`, and writes H.264 files.

Frames of all sources are uint8 RGB (H, W, 3), upright, with transparent pixels on white.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from thinkseg.errors import VideoError
from thinkseg.ops.encoding.video_writer import video_writer, write_video
from thinkseg.ops.frame_folder import FrameFolder, checked_index, open_folder
from thinkseg.ops.pictures import is_still
from thinkseg.ops.videofile import VideoFile
from thinkseg.types import Frames

__all__ = ["ArrayFrames", "FrameFolder", "VideoFile", "open_video", "video_writer", "write_video"]


def open_video(path: str | Path) -> Frames:
    """Opens a video file, a folder of images in natural order (2.jpg before 10.jpg), or one image as a single frame.

    Raises VideoError if the path does not exist, if the file is not a video, or if it is unclear which files of the
    folder are its frames, one is unreadable, or they differ in size; see `thinkseg.ops.frame_folder`.
    """
    path = Path(path)
    # os.path.isdir returns False where Path.is_dir raises: for names that the file system rejects.
    if os.path.isdir(path):
        return open_folder(path)
    return FrameFolder([path], path.stem, path) if is_still(path) else VideoFile(path)


class ArrayFrames:
    """Frames in memory, uint8 RGB (T, H, W, 3), not copied. Implements `thinkseg.types.Frames`.

    fps: frames per second (default: frames without times). Raises VideoError for another dtype or shape.
    """

    def __init__(self, array: np.ndarray, fps: float | None = None, name: str = "array") -> None:
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise VideoError(
                f"frames must be uint8 with the shape (T, H, W, 3) and no empty axis, not {array.dtype} {array.shape}"
            )
        self._array = array
        self.name = name
        self.fps = fps
        self.size_wh = (array.shape[2], array.shape[1])

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._array[checked_index(index, len(self))]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        index = checked_index(index, len(self))
        return None if self.fps is None else index / self.fps
