"""The pictures of an export: frames as a policy sees them in, PNG files out, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

IMAGES = "images"
"""Where pictures are, below the folder of an export."""


class ImageWriter:
    """Pictures as <folder>/images/<video>/<frame>-<width>x<height>.png.

    PNG keeps them as they are, so that other trainers show what ours does. Questions about one video share its files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._there: set[str] = set()

    def keep(self, video: str, indices: Sequence[int], images: Sequence[np.ndarray]) -> tuple[str, ...]:
        """Paths of frames, uint8 RGB (H, W, 3), below the folder and with slashes; those not there yet are written.

        video: a name that is safe to join to a folder. Raises OSError if a file cannot be written.
        """
        names = []
        for index, image in zip(indices, images, strict=True):
            height, width = image.shape[:2]
            names.append(f"{IMAGES}/{video}/{index:05d}-{width}x{height}.png")
            if names[-1] not in self._there:
                self._write(image, self._folder / names[-1])
                self._there.add(names[-1])
        return tuple(names)

    def _write(self, image: np.ndarray, path: Path) -> None:
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        # Level 1 packs photographs nearly as well as the default, in a third of the time.
        Image.fromarray(image).save(path, compress_level=1)
