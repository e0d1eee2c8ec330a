"""Image files of an export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

IMAGES = "images"
"""The subfolder of image files."""


class ImageWriter:
    """Writes frames as <folder>/images/<video>/<frame>-<width>x<height>.png, each once.

    PNG is lossless, so other trainers show the same pixels. Questions about one video share its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[str] = set()

    def write(self, video: str, indices: Sequence[int], images: Sequence[np.ndarray]) -> tuple[str, ...]:
        """Writes frames, uint8 RGB (H, W, 3), and returns their paths below the folder, with slashes.

        video: a name that is safe as a path. Raises OSError if a file cannot be written.
        """
        names = []
        for index, image in zip(indices, images, strict=True):
            height, width = image.shape[:2]
            names.append(f"{IMAGES}/{video}/{index:05d}-{width}x{height}.png")
            if names[-1] not in self._written:
                self._save(image, self._folder / names[-1])
                self._written.add(names[-1])
        return tuple(names)

    def _save(self, image: np.ndarray, path: Path) -> None:
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        # Level 1 compresses photographs nearly as well as the default in a third of the time.
        Image.fromarray(image).save(path, compress_level=1)
