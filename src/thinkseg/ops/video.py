"""Opens video files, folders of frames and arrays as `thinkseg.types.Frames`, and writes H.264 files.

Frames of all sources are uint8 RGB (H, W, 3), upright, with transparent pixels on white.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from PIL import Image

from thinkseg.errors import VideoError
from thinkseg.ops.frame_folder import FrameFolder, checked_index, open_folder
from thinkseg.ops.pictures import is_still
from thinkseg.ops.videofile import VideoFile
from thinkseg.storage.atomic import replacing
from thinkseg.types import Frames

__all__ = ["ArrayFrames", "FrameFolder", "VideoFile", "open_video", "write_video"]

KEYFRAME_INTERVAL = 30
"""Frames between two keyframes of a written file, to which players can seek."""

_MAX_TICKS = 2**31 - 1
"""The longest time in an MP4 file between two frames, and between decoding and showing one, in its units."""

_MAX_SPAN = _MAX_TICKS // 2
"""The longest video with frames at uneven times: a frame may be decoded that much earlier than shown, twice."""

_MAX_DELAY = 8
"""More frames than x264 reorders."""

_FINE_SCALE, _COARSE_SCALE = 90_000, 10_000
"""Units of time per second: for frames at uneven times, and the least for even ones, which players may rely on."""


def open_video(path: str | Path) -> Frames:
    """Opens a video file, a folder of images in natural order (2.jpg before 10.jpg), or one image as a single frame.

    Raises VideoError if the path does not exist, if the file is not a video, or if it is unclear which files of the
    folder are its frames, one is unreadable, or they differ in size; see `thinkseg.ops.frame_folder`.
    """
    path = Path(path)
    # os.path.isdir returns False where Path.is_dir raises: for names that the file system rejects.
    if os.path.isdir(path):
        return open_folder(path)
    return FrameFolder([path], name=path.stem) if is_still(path) else VideoFile(path)


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


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    size_wh: tuple[int, int] | None = None,
    times: Sequence[float] | None = None,
    comment: str = "",
) -> None:
    """Writes frames, uint8 RGB (H, W, 3), atomically as an H.264 file that plays in browsers and can be seeked.

    fps: frames per second, 1e-8 to 1e9. size_wh: size to which frames are resized (default: that of the first frame).
    times: the time of each frame in seconds, ascending (default: evenly spread by `fps`).
    comment: a tag of the file, which `VideoFile.comment` has.
    The same frames make the same bytes, whatever the number of processor cores.
    H.264 in 4:2:0 needs even sides: an odd side is padded by its last row or column, so coordinates do not change.
    Raises VideoError without frames, for frames of different sizes if `size_wh` is not given, for an invalid fps, for
    times that do not ascend or span more than 34 years, and if the file cannot be written.
    """
    path = Path(path)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"no frames to write to {path}")
    if not 1e-8 <= fps <= 1e9:
        raise VideoError(f"cannot write {path} at {fps!r} frames per second; give a number from 1e-8 to 1e9")
    rate = _simple_fraction(fps)
    clock = _even_clock(rate) if times is None else _uneven_clock(times, path)
    if not os.path.isdir(path.parent):
        raise VideoError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    try:
        with replacing(path) as partial:
            # A last frame shorter than a unit of time would not be shown.
            shown = min(rate, Fraction(clock.scale))
            _encode(partial, itertools.chain([first], _guarded(frames)), shown, clock, size_wh, comment)
    except _SourceError as error:
        raise error.cause from None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot write {path} ({error.strerror}); check that its folder is writable") from error


class _Clock(NamedTuple):
    """When frames are shown. ticks: the time of each frame in units of 1 / `scale` seconds, ascending."""

    scale: int
    ticks: Iterable[int]


def _simple_fraction(fps: float) -> Fraction:
    if fps < 1:
        return 1 / Fraction(1 / fps).limit_denominator(1001)
    return Fraction(fps).limit_denominator(1001)


def _even_clock(rate: Fraction) -> _Clock:
    """A clock whose units divide the time between two frames."""
    most = _MAX_TICKS // (_MAX_DELAY * rate.denominator)
    factor = max(1, min(math.ceil(_COARSE_SCALE / rate.numerator), most))
    return _Clock(rate.numerator * factor, itertools.count(0, rate.denominator * factor))


def _uneven_clock(times: Sequence[float], path: Path) -> _Clock:
    """A clock that shows frames at the times given, as exactly as an MP4 file of this length can state them."""
    seconds = np.asarray(times, float)
    seconds = seconds - seconds[0]
    if not (np.diff(seconds) >= 0).all() or seconds[-1] > _MAX_SPAN:
        raise VideoError(f"cannot write {path}: its frames are at times that do not ascend, or span more than 34 years")
    scale = min(_FINE_SCALE, _MAX_SPAN // max(1, math.ceil(seconds[-1])))
    ticks = np.rint(seconds * scale).astype(np.int64)
    # Times that are equal in these units become distinct.
    steps = np.arange(len(ticks))
    return _Clock(scale, (np.maximum.accumulate(ticks - steps) + steps).tolist())


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


def _encode(
    path: Path,
    frames: Iterable[np.ndarray],
    rate: Fraction,
    clock: _Clock,
    size_wh: tuple[int, int] | None,
    comment: str,
) -> None:
    options = {"movflags": "+faststart", "video_track_timescale": str(clock.scale)}
    with av.open(f"file:{path}", "w", format="mp4", options=options) as container:
        if comment:
            container.metadata["comment"] = comment
        stream: Any = None
        for number, (frame, tick) in enumerate(zip(frames, clock.ticks, strict=isinstance(clock.ticks, list))):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise VideoError(f"frame {number} to write is {frame.dtype} {frame.shape}, not uint8 (H, W, 3)")
            image = _fit(frame, size_wh)
            if stream is None:
                stream, expected = _h264_stream(container, image, rate, clock.scale), frame.shape
            if size_wh is None and frame.shape != expected:
                raise VideoError(f"frame {number} to write has the shape {frame.shape}, the first one {expected}")
            container.mux(stream.encode(_coded(image, tick)))
        container.mux(stream.encode(None))


def _coded(image: np.ndarray, tick: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        # Without these flags, pixels depend on the instructions that the processor has.
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
    )
    frame.pts = tick
    return frame


def _h264_stream(container: Any, image: np.ndarray, rate: Fraction, scale: int) -> Any:
    """Adds a stream for images of this size. Color properties are tagged, because players differ in their defaults."""
    # By default, x264 has as many threads as the processor has cores, and their number changes what it writes, as does
    # the rounding of mbtree.
    settings = {"preset": "veryfast", "crf": "20", "x264-params": "threads=1:mbtree=0"}
    stream = container.add_stream("libx264", rate=rate, options=settings)
    stream.height, stream.width = image.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, scale)
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
