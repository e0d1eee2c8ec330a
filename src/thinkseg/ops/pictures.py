"""Reads image files: frames, masks and all others, from a file or from its bytes, in the same way.

Images are upright by their EXIF orientation. As a frame, an image is uint8 RGB (H, W, 3): transparent pixels are on
white, and 16 bits are scaled to 8. A limit of pixels is checked on the header, before anything is decoded.
"""

from __future__ import annotations

import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image

from thinkseg.errors import SettingsError, VideoError

Source = str | Path | bytes
"""The path of an image file, or its content."""

DEFAULT_MAX_PIXELS = 2**26
"""Pixels of one image or frame, unless `MAX_PIXELS_VARIABLE` is set."""

MAX_PIXELS_VARIABLE = "THINKSEG_MAX_PIXELS"
"""Environment variable with another limit."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Suffixes of image files that are read, in lower case."""

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")
"""Formats of these files. Pillow reads more, some of them, such as EPS, with other programs."""

_PILLOW_LIMIT = threading.Lock()
"""Held while Pillow's own limit of pixels, a global variable, is off."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of an EXIF orientation upright; those >= 5 swap width and height."""

_MIN_SWAPPED = 5


# Without a handler, Python prints what Pillow logs about damaged files, next to the error that is raised.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def check_pixels(size_wh: tuple[int, int], path: str | Path) -> None:
    """Raises VideoError if an image or a frame has more pixels than the limit; to be called before it is decoded.

    size_wh: the size that the header of `path` states. Raises SettingsError if the limit that is set is invalid.
    """
    (width, height), limit = size_wh, max_pixels()
    if width * height > limit:
        raise VideoError(
            f"{path}: {width}x{height} are more than {limit} pixels; make it smaller, or set {MAX_PIXELS_VARIABLE}"
        )


def max_pixels() -> int:
    """Returns the most pixels that an image or a frame may have. Raises SettingsError for an invalid variable."""
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(DEFAULT_MAX_PIXELS)
    if not re.fullmatch("[1-9][0-9]{0,17}", text):
        raise SettingsError(
            f"{MAX_PIXELS_VARIABLE}: {text!r} is not a number of pixels; give an integer > 0, or unset it"
        )
    return int(text)


def is_image(name: str) -> bool:
    """Whether the name of a file is that of an image that is read; hidden files, which some systems add, are not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def is_still(path: Path) -> bool:
    """Whether a file is a single image, and not a video, an animation or anything unreadable."""
    try:
        return is_image(path.name) and bool(picture_size(path))
    except VideoError:
        return False


def read_picture(source: Source, name: str = "image") -> np.ndarray:
    """Reads an image as a frame, uint8 RGB (H, W, 3). Arguments and errors are those of `load_picture`."""
    return to_frame(load_picture(source, name), _where(source, name))


def upright(image: Image.Image) -> Image.Image:
    """Returns an image turned and mirrored by its EXIF orientation, without it."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def to_frame(picture: Image.Image, where: str) -> np.ndarray:
    """Converts an upright image of any mode to uint8 RGB (H, W, 3), transparency on white, 16 bits scaled.

    where: what the image is called in errors. Raises VideoError for 32 bits per pixel.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        return _from_16_bits(picture)
    if picture.mode in ("I", "F"):
        raise VideoError(f"{where}: 32 bits per pixel do not say what is white; convert it to 8 bits")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def load_picture(source: Source, name: str = "image") -> Image.Image:
    """Decodes an image: upright, in the mode and with the `format` of its file.

    name: what bytes are called in errors. Raises VideoError if the image is missing, unreadable or damaged, has more
    pixels than the limit, or is one of several in its file.
    """
    with _opened(source, name) as image, _reporting(f"{_where(source, name)}: image is damaged; replace it"):
        if image.format == "PNG" and b"IEND" not in _chunks(image):
            raise EOFError("a chunk of the file is cut off")
        picture = upright(image)
        picture.load()
        picture.format = image.format
        return picture


def picture_size(source: Source, name: str = "image") -> tuple[int, int]:
    """Returns the upright (width, height), from the header. Arguments and errors are those of `load_picture`."""
    with _opened(source, name) as image:
        return image.size[::-1] if _orientation(image) >= _MIN_SWAPPED else image.size


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    """Opens an image of which nothing is decoded yet."""
    where = _where(source, name)
    with _file(source, where) as file:
        with _reporting(f"{where}: not a readable image; replace or remove it"):
            image = _header(file)
        check_pixels(image.size, where)
        with _reporting(f"{where}: image is damaged; replace it"):
            several = getattr(image, "is_animated", False) and image.format != "MPO"
        if several:
            raise VideoError(f"{where}: holds several images; save each as a file of its own")
        yield image


def _where(source: Source, name: str) -> str:
    return name if isinstance(source, bytes) else str(source)


def _file(source: Source, where: str) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        return open(source, "rb")
    except FileNotFoundError:
        raise VideoError(f"{where}: no such image; check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(f"{where}: cannot be opened ({error}); check its name and permissions") from None


@contextmanager
def _reporting(message: str) -> Iterator[None]:
    """Turns any error of Pillow in the block into a VideoError: damaged files raise exceptions of many types."""
    try:
        yield
    except VideoError:
        raise
    except Exception as error:
        raise VideoError(message) from error


def _header(file: IO[bytes]) -> Image.Image:
    """Opens an image without Pillow's limit of pixels and without its warnings."""
    with _PILLOW_LIMIT, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 if there is none, or one that cannot be read."""
    # Pillow turns TIFF files itself. To look for EXIF in a PNG without it, it would decode the image.
    if image.format == "TIFF" or (image.format == "PNG" and not _has_exif(image)):
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _has_exif(png: Image.Image) -> bool:
    """Whether a PNG file has EXIF before or after its pixels. A decoded image, whose file is closed, names both."""
    if not png.info.keys().isdisjoint(("exif", "Raw profile type exif")):
        return True
    return png.fp is not None and b"eXIf" in _chunks(png)  # type: ignore[attr-defined]


def _chunks(png: Image.Image) -> set[bytes]:
    """Returns the types of all chunks of a PNG file, up to the first one that is cut off."""
    file = png.fp  # type: ignore[attr-defined]
    start, kinds = file.tell(), set()
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        kinds.add(kind)
        file.seek(length + 4, os.SEEK_CUR)
    file.seek(start)
    return kinds


def _from_16_bits(picture: Image.Image) -> np.ndarray:
    """Scales gray levels of 16 bits, which Pillow would clip at 255, to RGB. A transparent level becomes white."""
    levels = np.asarray(picture)
    gray = (levels >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        gray[levels == picture.info["transparency"]] = 255
    return np.repeat(gray[..., None], 3, axis=2)
