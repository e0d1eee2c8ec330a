"""Masks that come as pictures: a path in, a checked array out.

A label map holds the number of an object in each pixel, as the palette index of a PNG (or its grey level). A mask
picture shows one object: whatever is not black. Both are read the way the benchmarks' own evaluators read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from thinkseg.data.readers.issues import DatasetFileError

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for a file that is no picture, only part of one, or impossibly large."""


def check_size(path: Path | str, size_wh: tuple[int, int]) -> None:
    """Raises TreeError if there is no picture of this size, by its header alone."""
    with _opened(path, size_wh):
        pass


def label_map(path: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """A label map, uint8 (H, W). Raises TreeError for another size, or a picture in colours."""
    with _opened(path, size_wh) as picture:
        if picture.mode not in ("P", "L"):
            raise DatasetFileError(
                "mask", f"{path} is no label map: it is in mode {picture.mode}, not P (palette) or L (grey)"
            )
        return np.array(picture)


def mask_picture(path: Path | str, size_wh: tuple[int, int]) -> np.ndarray:
    """The mask of one object, bool (H, W). Raises TreeError for another size."""
    import cv2

    check_size(path, size_wh)
    # The evaluators let OpenCV turn pictures grey; a palette's colours would come out otherwise elsewhere.
    grey = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise _damaged(path)
    return grey != 0


@contextmanager
def _opened(path: Path | str, size_wh: tuple[int, int]) -> Iterator[Image.Image]:
    """A picture file of this size; whatever goes wrong with it inside the block is a TreeError."""
    try:
        with Image.open(path) as picture:
            if picture.size != size_wh:
                found, expected = "{}x{}".format(*picture.size), "{}x{}".format(*size_wh)
                raise DatasetFileError("size", f"mask {path} is {found} where the video is {expected}")
            yield picture
    except FileNotFoundError:
        raise DatasetFileError("mask", f"there is no mask {path}; is the data set complete?") from None
    except _DAMAGE as error:
        raise _damaged(path) from error


def _damaged(path: Path | str) -> DatasetFileError:
    return DatasetFileError("mask", f"mask {path} cannot be read as a picture; download it anew")
