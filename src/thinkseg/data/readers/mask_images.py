"""Reads and checks mask images.

A label map holds an object number per pixel, as the palette index or the gray level of a PNG. A mask image shows one
object: every pixel that is not black, as the benchmarks' own evaluators read it. It may also be an alpha channel. An
image that can be read as two different masks is refused; it is never read as an empty mask by accident.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.errors import VideoError
from thinkseg.ops.pictures import load_picture, picture_size

_LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "PPM")
"""Formats that keep every value."""


def check_size(path: Path | str, size_wh: tuple[int, int]) -> None:
    """Raises DatasetFileError unless the header of an image states this size."""
    with _reporting(path):
        found_wh = picture_size(path)
    _check_equal(found_wh, size_wh, path)


def label_map(path: Path | str, size_wh: tuple[int, int]) -> np.ndarray:
    """Reads a label map, uint8 (H, W). Raises DatasetFileError for another size, or an image in colors."""
    picture = _load(path, size_wh)
    if picture.mode not in ("P", "L"):
        raise DatasetFileError(
            "missing_mask", f"{path}: not a label map: mode is {picture.mode}, must be P (palette) or L (gray)"
        )
    return np.array(picture)


def mask_image(path: Path | str, size_wh: tuple[int, int], one_value: bool = False) -> np.ndarray:
    """Reads the mask of one object, bool (H, W): every pixel that is not black, or that is not transparent.

    one_value: whether all pixels of the object must have one value, which excludes soft edges, noise and label maps.
    Raises DatasetFileError for another size, and for an image that does not say which pixels are the object.
    """
    values = _values(_load(path, size_wh), path)
    inside = values != 0
    if one_value:
        _check_one_value(values[inside], path)
    return inside


def objects_in_image(path: Path | str, size_wh: tuple[int, int]) -> dict[int | None, np.ndarray]:
    """Reads the masks, bool (H, W), of a mask image (of one object, under None) or a label map (by object number).

    An image with one value besides 0 is a mask image. Others have the values 1 to N, so that soft edges are no objects.
    Raises DatasetFileError as `mask_image` does, for an image without objects, and for other values.
    """
    values = _values(_load(path, size_wh), path)
    found = np.unique(values[values != 0]).tolist()
    if not found:
        raise unclear_mask(path, "shows no object; give an image with one that is not black")
    if len(found) == 1:
        return {None: values != 0}
    if found != list(range(1, len(found) + 1)):
        raise unclear_mask(path, f"has the values {reprlib.repr(found)} besides 0; a label map has 1 to N, a mask one")
    return {number: values == number for number in found}


def _load(path: Path | str, size_wh: tuple[int, int]) -> Image.Image:
    with _reporting(path):
        picture = load_picture(path)
    _check_equal(picture.size, size_wh, path)
    if picture.format not in _LOSSLESS:
        raise unclear_mask(
            path, f"is a {picture.format} file, which does not keep the values of a mask; save it as PNG"
        )
    return picture


@contextmanager
def _reporting(path: Path | str) -> Iterator[None]:
    try:
        yield
    except VideoError as error:
        missing = f"{path}: no such mask; is the data set complete?"
        raise DatasetFileError("missing_mask", str(error) if os.path.exists(path) else missing) from error


def _check_equal(found_wh: tuple[int, int], size_wh: tuple[int, int], path: Path | str) -> None:
    if found_wh != size_wh:
        found, expected = "{}x{}".format(*found_wh), "{}x{}".format(*size_wh)
        raise DatasetFileError("size_mismatch", f"{path}: mask is {found}, its video {expected}")


def _values(picture: Image.Image, path: Path | str) -> np.ndarray:
    """Returns the values that separate the object from its surroundings, (H, W): 0 outside."""
    colors = _colors(picture, path)
    if not picture.has_transparency_data:
        return colors
    alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
    if alpha.min() == np.iinfo(np.uint8).max or np.array_equal(colors != 0, alpha != 0):
        return colors
    if colors.min() == colors.max():
        return alpha
    raise unclear_mask(path, "its colors and its transparency show different masks; save it as gray PNG, 0 and 255")


def _colors(picture: Image.Image, path: Path | str) -> np.ndarray:
    """Returns a number per pixel, (H, W): 0 for black, one number per color."""
    if picture.mode == "LA":
        return np.asarray(picture.getchannel("L"))
    if picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;16"):
        return np.asarray(picture)
    # Pillow warns if a palette with transparency is converted to RGB without alpha.
    red, green, blue, _ = np.moveaxis(np.asarray(picture.convert("RGBA"), np.uint32), -1, 0)
    color = red << 16 | green << 8 | blue
    if picture.mode != "P":
        return color
    index = np.asarray(picture)
    if not np.array_equal(index != 0, color != 0):
        raise unclear_mask(
            path, "color 0 of its palette must be black, and no other color; save it as gray PNG, 0 and 255"
        )
    return index


def _check_one_value(inside: np.ndarray, path: Path | str) -> None:
    if inside.size and inside.min() != inside.max():
        found = reprlib.repr(np.unique(inside).tolist())
        raise unclear_mask(path, f"has the values {found} besides 0, must have one; threshold it, or split its objects")


def unclear_mask(path: Path | str, what: str) -> DatasetFileError:
    """The error of a mask image, or a folder of them, that can be read in more than one way."""
    return DatasetFileError("unclear_mask", f"{path}: {what}")
