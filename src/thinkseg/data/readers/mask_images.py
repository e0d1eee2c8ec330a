"""Reads and checks mask images.

A label map holds an object number per pixel, as the palette index or the gray level of a PNG. A mask image shows one
object: every pixel that is not black. Both are read as the benchmarks' own evaluators read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from thinkseg.data.readers.issues import DatasetFileError

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""Exceptions of Pillow for a file that is not an image, is truncated, or is impossibly large."""


def check_size(path: Path | str, size_wh: tuple[int, int]) -> None:
    """Raises DatasetFileError unless the header of an image states this size."""
    with _opened(path, size_wh):
        pass


def label_map(path: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """Reads a label map, uint8 (H, W). Raises DatasetFileError for another size, or an image in colors."""
    with _opened(path, size_wh) as image:
        if image.mode not in ("P", "L"):
            raise DatasetFileError(
                "missing_mask", f"{path}: not a label map: mode is {image.mode}, must be P (palette) or L (gray)"
            )
        return np.array(image)


def mask_image(path: Path | str, size_wh: tuple[int, int]) -> np.ndarray:
    """Reads the mask of one object, bool (H, W). Raises DatasetFileError for another size."""
    import cv2

    with _opened(path, size_wh) as image:
        # OpenCV allocates what a damaged chunk claims to be long, and decodes what is left of a damaged image.
        image.verify()
    # The evaluators convert to gray with OpenCV; other libraries convert the colors of a palette differently.
    gray = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if gray is None:
        raise _damaged(path)
    return gray != 0


@contextmanager
def _opened(path: Path | str, size_wh: tuple[int, int]) -> Iterator[Image.Image]:
    """Opens an image of this size; any error with it inside the block becomes a DatasetFileError."""
    try:
        with Image.open(path) as image:
            if image.size != size_wh:
                found, expected = "{}x{}".format(*image.size), "{}x{}".format(*size_wh)
                raise DatasetFileError("size_mismatch", f"{path}: mask is {found}, its video {expected}")
            yield image
    except FileNotFoundError:
        raise DatasetFileError("missing_mask", f"{path}: no such mask; is the data set complete?") from None
    except _DAMAGE as error:
        raise _damaged(path) from error


def _damaged(path: Path | str) -> DatasetFileError:
    return DatasetFileError("missing_mask", f"{path}: mask is not a readable image; download it again")
