"""Videos in and out: paths or arrays in, `types.Frames` out; and frames in, an H.264 file out.

Whatever the source, a frame is uint8 RGB (H, W, 3), upright, with anything transparent shown over white.
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
from thinkseg.types import Frames

__all__ = ["ArrayFrames", "FrameFolder", "VideoFile", "open_video", "write_video"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow raises for a file that is no picture or only part of one."""

_ON_ITS_SIDE = 5
"""EXIF orientations from this one on swap width and height."""

KEYFRAME_INTERVAL = 30
"""Frames between the points of a written file that a player can jump to."""


def open_video(path: str | Path) -> Frames:
    """A video file, or a folder of frames in natural order (2.jpg before 10.jpg), as frames on demand.

    Raises VideoError if there is nothing there, the file is not a video, the folder holds no .jpg, .jpeg or .png
    file, or its pictures cannot be read or differ in size.
    """
    path = Path(path)
    # os.path.isdir says no, where Path.is_dir raises, to names the file system refuses.
    if not os.path.isdir(path):
        return VideoFile(path)
    try:
        pictures = sorted((file for file in path.iterdir() if _is_picture(file)), key=_natural_order)
    except OSError as error:
        raise VideoError(f"folder {path} cannot be listed: {error.strerror}; check its permissions") from None
    if not pictures:
        raise VideoError(f"folder {path} holds no frames; expected {', '.join(IMAGE_SUFFIXES)} files in it")
    folder = FrameFolder(pictures, name=path.name)
    # Only headers are read here, so that a stray picture is found now and not in the middle of the work.
    for picture in pictures:
        folder.check_size(picture, _upright_size(picture))
    return folder


class FrameFolder:
    """Picture files as a video without times, in the order given. Satisfies `types.Frames`.

    Of the files, only the first one's header is read until a frame is asked for.
    Raises VideoError if there are none, or when one cannot be read or has another size than the first.
    """

    fps: float | None = None

    def __init__(self, paths: Sequence[str | Path], name: str | None = None) -> None:
        if not paths:
            raise VideoError("a folder of frames needs at least one picture")
        self.paths = tuple(Path(path) for path in paths)
        self.name = self.paths[0].parent.name if name is None else name
        self.size_wh = _upright_size(self.paths[0])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[_checked(index, len(self))]
        picture = _read_picture(path)
        self.check_size(path, picture.shape[1::-1])
        return picture

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        _checked(index, len(self))
        return None

    def check_size(self, path: Path, size_wh: tuple[int, ...]) -> None:
        """Raises VideoError if a picture of this size does not belong in this video."""
        if size_wh != self.size_wh:
            found, expected = "{}x{}".format(*size_wh), "{}x{}".format(*self.size_wh)
            raise VideoError(f"{path} is {found} where {self.paths[0].name} is {expected}; frames must share one size")


class ArrayFrames:
    """Frames already in memory, uint8 RGB (T, H, W, 3), not copied. Satisfies `types.Frames`.

    fps: frames a second, evenly spaced; None for frames without times. Raises VideoError for any other array.
    """

    def __init__(self, array: np.ndarray, fps: float | None = None, name: str = "array") -> None:
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise VideoError(
                f"frames must be uint8 of shape (T, H, W, 3), none of them 0: got {array.dtype} {array.shape}"
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
    """Writes frames, uint8 RGB (H, W, 3), as an H.264 file that plays in browsers and can be jumped about in.

    fps: frames a second. size_wh: frames are scaled to it; default is the first frame's size. H.264 in 4:2:0 needs
    even sides: an odd one is made even by repeating the last row or column, so that coordinates stay as they are.
    The file appears under its name once it is complete. Raises VideoError if there is no frame, frames differ in size
    (and no size is given), fps is not positive, or the file cannot be written.
    """
    path = Path(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"no frames to write to {path}")
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else Fraction(0)
    if rate <= 0:
        raise VideoError(f"cannot write {path} at {fps} frames a second; give a positive number")
    if not os.path.isdir(path.parent):
        raise VideoError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _encode(partial, itertools.chain([first], frames), rate, size_wh)
        partial.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot write {path} ({error.strerror}); is the folder there and writable?") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, frames: Iterable[np.ndarray], rate: Fraction, size_wh: tuple[int, int] | None) -> None:
    with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for number, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise VideoError(f"frame {number} to be written is {frame.dtype} {frame.shape}, not uint8 (H, W, 3)")
            picture = _fit(frame, size_wh)
            if stream is None:
                stream, expected = _h264_stream(container, picture, rate), frame.shape
            if size_wh is None and frame.shape != expected:
                raise VideoError(f"frame {number} to be written has shape {frame.shape}, the first one {expected}")
            coded = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            coded.pts = number
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))


def _h264_stream(container: Any, picture: np.ndarray, rate: Fraction) -> Any:
    """A stream for pictures like this one. Colours are tagged: players guess them differently otherwise."""
    # With its macroblock tree x264 codes the same pictures differently from run to run.
    settings = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}
    stream = container.add_stream("libx264", rate=rate, options=settings)
    stream.height, stream.width = picture.shape[:2]
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
    """A frame at the size wanted, contiguous, with even sides."""
    if size_wh is not None and frame.shape[1::-1] != tuple(size_wh):
        frame = np.asarray(Image.fromarray(frame).resize(size_wh, Image.Resampling.BILINEAR))
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _checked(index: int, length: int) -> int:
    index = operator.index(index)
    if not 0 <= index < length:
        raise IndexError(f"frame {index} of a video with frames 0 to {length - 1}")
    return index


def _is_picture(path: Path) -> bool:
    """Whether a folder's entry is a frame: not the hidden companions that some systems write beside each file."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts numbers inside names by value; the name itself decides between 1.jpg and 01.jpg."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _open_picture(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise VideoError(f"frame {path} cannot be read as a picture; replace it or leave it out") from error


def _upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture file as it is shown, from its header."""
    with _open_picture(path) as picture:
        return picture.size[::-1] if _orientation(picture) >= _ON_ITS_SIDE else picture.size


def _read_picture(path: Path) -> np.ndarray:
    """A picture file as uint8 RGB (H, W, 3), turned as its camera noted, transparency over white."""
    with _open_picture(path) as picture:
        try:
            upright = ImageOps.exif_transpose(picture) if _orientation(picture) > 1 else picture
            if upright.has_transparency_data:
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            return _eight_bits(upright)
        except _DAMAGE as error:
            raise VideoError(f"frame {path} is damaged; replace it or leave it out") from error


def _orientation(picture: Image.Image) -> int:
    """EXIF's 1 to 8. Only cameras' files are asked: to look for it in a PNG would decode the whole picture."""
    return picture.getexif().get(ExifTags.Base.Orientation, 1) if isinstance(picture, JpegImageFile) else 1


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Any picture as uint8 RGB (H, W, 3)."""
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16 bits at 255 rather than scale them.
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(picture.convert("RGB"))
