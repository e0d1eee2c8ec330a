"""Encodes frames as they come: H.264 in MP4, which plays in browsers, and VP9 with transparency in WebM."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from PIL import Image

from thinkseg.errors import VideoError
from thinkseg.ops.encoding.clock import Clock, clock_of
from thinkseg.ops.encoding.sound import Sound
from thinkseg.storage.atomic import replacing

KEYFRAME_INTERVAL = 30
"""Frames between two keyframes of a written file, to which players can seek."""


class Coding(NamedTuple):
    """How frames are coded, in FFmpeg's names. source, coded: pixel formats. options: of the codec."""

    container: str
    codec: str
    source: str
    coded: str
    options: dict[str, str]

    @property
    def channels(self) -> int:
        return len(self.source.removesuffix("24"))


# By default, x264 has as many threads as the processor has cores, and their number changes what it writes, as does the
# rounding of mbtree.
H264 = Coding(
    *("mp4", "libx264", "rgb24", "yuv420p"), {"preset": "veryfast", "crf": "20", "x264-params": "threads=1:mbtree=0"}
)
"""Opaque frames, uint8 RGB (H, W, 3)."""

# Frames that are not shown (alternate references) have no transparency.
VP9_ALPHA = Coding(
    *("webm", "libvpx-vp9", "rgba", "yuva420p"),
    {
        "deadline": "realtime",
        "cpu-used": "6",
        "crf": "20",
        "b": "0",
        "threads": "1",
        "auto-alt-ref": "0",
        "lag-in-frames": "0",
    },
)
"""Frames with transparency, uint8 RGBA (H, W, 4), not premultiplied."""

Add = Callable[[np.ndarray], None]
"""Adds the next frame."""


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    size_wh: tuple[int, int] | None = None,
    times: Sequence[float] | None = None,
    comment: str = "",
) -> None:
    """Writes frames, uint8 RGB (H, W, 3), as an H.264 file. Arguments and errors are those of `video_writer`."""
    with video_writer(path, fps, size_wh, times, comment=comment) as add:
        for frame in frames:
            add(frame)


@contextmanager
def video_writer(
    path: str | Path,
    fps: float,
    size_wh: tuple[int, int] | None = None,
    times: Sequence[float] | None = None,
    coding: Coding = H264,
    sound_of: Path | None = None,
    sound_span: tuple[float, float] = (0.0, math.inf),
    comment: str = "",
) -> Iterator[Add]:
    """Yields a function that adds a frame to a video file, which appears when the block ends, and can be seeked.

    fps: frames per second, 1e-8 to 1e9. size_wh: size to which frames are resized (default: that of the first frame).
    times: the time of each frame in seconds, ascending (default: evenly spread by `fps`).
    sound_of: a video file of the same video, whose first audio track is copied. sound_span: the times in that video,
        in seconds since its first frame, between which these frames are.
    comment: a tag of the file, which `VideoFile.comment` has.
    The same frames make the same bytes, whatever the number of processor cores.
    Both codecs need even sides: an odd side is padded by its last row or column, so coordinates do not change.
    Raises VideoError without frames, for frames of different sizes if `size_wh` is not given, for an invalid fps, for
    times that do not ascend or span more than 34 years, and if the file cannot be written.
    """
    path = Path(path)
    clock = clock_of(fps, times, path)
    if not os.path.isdir(path.parent):
        raise VideoError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    with ExitStack() as stack:
        with _reporting(path):
            container = _open(stack.enter_context(replacing(path)), coding, clock)
            stack.enter_context(container)
            if comment:
                container.metadata["comment"] = comment
            encoder = stack.enter_context(
                closing(_Encoder(path, container, clock, coding, size_wh, sound_of, sound_span))
            )
        yield encoder.add
        with _reporting(path):
            encoder.finish()
            stack.close()


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot write {path} ({error.strerror}); check that its folder is writable") from error


def _open(path: Path, coding: Coding, clock: Clock) -> Any:
    mp4 = {"movflags": "+faststart", "video_track_timescale": str(clock.scale)}
    # Otherwise, tracks of WebM files have random ids.
    options = mp4 if coding.container == "mp4" else {"fflags": "+bitexact"}
    return av.open(f"file:{path}", "w", format=coding.container, options=options)


class _Encoder:
    """Encodes frames into an open file, whose streams it adds with the first frame. path: for messages."""

    def __init__(
        self,
        path: Path,
        container: Any,
        clock: Clock,
        coding: Coding,
        size_wh: tuple[int, int] | None,
        sound_of: Path | None,
        sound_span: tuple[float, float],
    ) -> None:
        self._path, self._container, self._clock, self._coding = path, container, clock, coding
        self._size_wh, self._sound_of, self._sound_span = size_wh, sound_of, sound_span
        self._sound: Sound | None = None
        self._ticks = iter(clock.ticks)
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, frame: np.ndarray) -> None:
        """Encodes the next frame."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != self._coding.channels:
            shape = f"(H, W, {self._coding.channels})"
            raise VideoError(f"frame {self._count} to write is {frame.dtype} {frame.shape}, not uint8 {shape}")
        image = _fit(frame, self._size_wh)
        with _reporting(self._path):
            if self._stream is None:
                self._stream, self._shape = self._video_stream(image), frame.shape
                # Players expect the video to be the first stream.
                self._sound = Sound(self._sound_of, self._container, *self._sound_span) if self._sound_of else None
            if self._size_wh is None and frame.shape != self._shape:
                raise VideoError(
                    f"frame {self._count} to write has the shape {frame.shape}, the first one {self._shape}"
                )
            tick = next(self._ticks, None)
            if tick is None:
                raise ValueError(f"{self._path}: more frames than times")
            self._container.mux(self._stream.encode(_coded(image, tick, self._coding)))
            if self._sound:
                self._sound.write(tick / self._clock.scale)
        self._count += 1

    def finish(self) -> None:
        """Writes what is left."""
        if self._stream is None:
            raise VideoError(f"no frames to write to {self._path}")
        self._container.mux(self._stream.encode(None))
        if self._sound:
            self._sound.write()

    def close(self) -> None:
        if self._sound:
            self._sound.close()

    def _video_stream(self, image: np.ndarray) -> Any:
        """Adds a stream for images of this size. Color properties are tagged, because players differ in defaults."""
        stream = self._container.add_stream(self._coding.codec, rate=self._clock.rate, options=self._coding.options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = self._coding.coded
        context = stream.codec_context
        context.time_base = Fraction(1, self._clock.scale)
        context.gop_size = KEYFRAME_INTERVAL
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream


def _coded(image: np.ndarray, tick: int, coding: Coding) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format=coding.source).reformat(
        format=coding.coded,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        # Without these flags, pixels depend on the instructions that the processor has.
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
    )
    frame.pts = tick
    return frame


def _fit(frame: np.ndarray, size_wh: tuple[int, int] | None) -> np.ndarray:
    """Resizes a frame and pads it to even sides. The result is contiguous."""
    if size_wh is not None and frame.shape[1::-1] != tuple(size_wh):
        frame = np.asarray(Image.fromarray(frame).resize(size_wh, Image.Resampling.BILINEAR))
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
