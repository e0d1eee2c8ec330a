"""Opens video files, folders of frames and arrays as `thinkseg.types.Frames`, and writes H.264 files.

Frames of all sources are uint8 RGB (H, W, 3), upright, with transparent pixels on white.
"""

from __future__ import annotations

import itertools
import math
import operator
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from thinkseg.errors import VideoError
from thinkseg.ops.videofile import VideoFile
from thinkseg.storage.atomic import replacing
from thinkseg.types import Frames

__all__ = ["ArrayFrames", "FrameFolder", "VideoFile", "open_video", "write_video"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""Exceptions of Pillow for a file that is not an image or is incomplete."""

_MIN_ROTATED_ORIENTATION = 5
"""EXIF orientations >= this one swap width and height."""

KEYFRAME_INTERVAL = 30
"""Frames between two keyframes of a written file, to which players can seek."""


def open_video(path: str | Path) -> Frames:
    """Opens a video file, or a folder of images in natural order (2.jpg before 10.jpg).

    Raises VideoError if the path does not exist, if the file is not a video, or if the folder has no .jpg, .jpeg or
    .png file, an unreadable one, or images of different sizes.
    """
    path = Path(path)
    # os.path.isdir returns False where Path.is_dir raises: for names that the file system rejects.
    if not os.path.isdir(path):
        return VideoFile(path)
    try:
        images = sorted((file for file in path.iterdir() if _is_image(file)), key=_natural_order)
    except OSError as error:
        raise VideoError(f"folder {path} cannot be listed: {error.strerror}; check its permissions") from None
    if not images:
        raise VideoError(f"folder {path} has no frames; put {', '.join(IMAGE_SUFFIXES)} files in it")
    folder = FrameFolder(images, name=path.name)
    # Reading all headers reports an image of another size now, not in the middle of the work.
    for image in images:
        folder.check_size(image, _upright_size(image))
    return folder


class FrameFolder:
    """Image files as a video without times, in the given order. Implements `thinkseg.types.Frames`.

    Files are read when their frames are, except for the header of the first one.
    Raises VideoError without files, and for an unreadable file or one of another size than the first.
    """

    fps: float | None = None

    def __init__(self, paths: Sequence[str | Path], name: str | None = None) -> None:
        if not paths:
            raise VideoError("a folder of frames needs at least one image")
        self.paths = tuple(Path(path) for path in paths)
        self.name = self.paths[0].parent.name if name is None else name
        self.size_wh = _upright_size(self.paths[0])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[_checked(index, len(self))]
        image = _read_image(path)
        self.check_size(path, image.shape[1::-1])
        return image

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        _checked(index, len(self))
        return None

    def check_size(self, path: Path, size_wh: tuple[int, ...]) -> None:
        """Raises VideoError if an image has another size than this video."""
        if size_wh != self.size_wh:
            found, expected = "{}x{}".format(*size_wh), "{}x{}".format(*self.size_wh)
            raise VideoError(f"{path} is {found}, but {self.paths[0].name} is {expected}; give frames of one size")


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
        return self._array[_checked(index, len(self))]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        index = _checked(index, len(self))
        return None if self.fps is None else index / self.fps


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, size_wh: tuple[int, int] | None = None
) -> None:
    """Writes frames, uint8 RGB (H, W, 3), atomically as an H.264 file that plays in browsers and can be seeked.

    fps: frames per second, > 0. size_wh: size to which frames are resized (default: that of the first frame).
    H.264 in 4:2:0 needs even sides: an odd side is padded by its last row or column, so coordinates do not change.
    Raises VideoError without frames, for frames of different sizes if `size_wh` is not given, for an invalid fps, and
    if the file cannot be written.
    """
    path = Path(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"no frames to write to {path}")
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else Fraction(0)
    if rate <= 0:
        raise VideoError(f"cannot write {path} at {fps!r} frames per second; give a number > 0")
    if not os.path.isdir(path.parent):
        raise VideoError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    try:
        with replacing(path) as partial:
            _encode(partial, itertools.chain([first], _guarded(frames)), rate, size_wh)
    except _SourceError as error:
        raise error.cause from None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot write {path} ({error.strerror}); check that its folder is writable") from error


class _SourceError(Exception):
    """Carries an error of the frames past the handler of errors of the file that is written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _guarded(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    try:
        yield from frames
    except OSError as error:
        raise _SourceError(error) from error


def _encode(path: Path, frames: Iterable[np.ndarray], rate: Fraction, size_wh: tuple[int, int] | None) -> None:
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for number, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise VideoError(f"frame {number} to write is {frame.dtype} {frame.shape}, not uint8 (H, W, 3)")
            image = _fit(frame, size_wh)
            if stream is None:
                stream, expected = _h264_stream(container, image, rate), frame.shape
            if size_wh is None and frame.shape != expected:
                raise VideoError(f"frame {number} to write has the shape {frame.shape}, the first one {expected}")
            coded = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            coded.pts = number
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))


def _h264_stream(container: Any, image: np.ndarray, rate: Fraction) -> Any:
    """Adds a stream for images of this size. Color properties are tagged, because players differ in their defaults."""
    # With mbtree, the output of x264 differs from run to run.
    settings = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}
    stream = container.add_stream("libx264", rate=rate, options=settings)
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / rate
    context.gop_size = KEYFRAME_INTERVAL
    context.colorspace = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    return stream


def _fit(frame: np.ndarray, size_wh: tuple[int, int] | None) -> np.ndarray:
    """Resizes a frame and pads it to even sides. The result is contiguous."""
    if size_wh is not None and frame.shape[1::-1] != tuple(size_wh):
        frame = np.asarray(Image.fromarray(frame).resize(size_wh, Image.Resampling.BILINEAR))
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _checked(index: int, length: int) -> int:
    index = operator.index(index)
    if not 0 <= index < length:
        raise IndexError(f"frame {index} is not in the video; give an index from 0 to {length - 1}")
    return index


def _is_image(path: Path) -> bool:
    """Returns whether a folder's entry is a frame, and not a hidden file that some systems add per file."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Returns a sort key that compares numbers in names by value, and names if these are equal (1.jpg, 01.jpg)."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _open_image(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (*_PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise VideoError(f"frame {path} is not a readable image; replace or remove it") from error


def _upright_size(path: Path) -> tuple[int, int]:
    """Returns the upright (width, height) of an image file, from its header."""
    with _open_image(path) as image:
        return image.size[::-1] if _orientation(image) >= _MIN_ROTATED_ORIENTATION else image.size


def _read_image(path: Path) -> np.ndarray:
    """Reads an image file as uint8 RGB (H, W, 3), upright by its EXIF orientation, with transparent pixels on white."""
    with _open_image(path) as image:
        try:
            upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            return _eight_bits(upright)
        except _PILLOW_ERRORS as error:
            raise VideoError(f"frame {path} is damaged; replace or remove it") from error


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8, of JPEG files only: in a PNG, reading it decodes the complete image."""
    return image.getexif().get(ExifTags.Base.Orientation, 1) if isinstance(image, JpegImageFile) else 1


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Converts an image of any mode to uint8 RGB (H, W, 3)."""
    if image.mode.startswith("I;16"):
        # Pillow clips 16 bits at 255 instead of scaling them.
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))
