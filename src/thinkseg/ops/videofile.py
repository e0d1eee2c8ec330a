"""Random access to the frames of a video file, of any format that PyAV reads, with exact indices and times.

Packets are listed once without decoding; their sorted presentation times are the index of frames. A frame is decoded
from the nearest keyframe at or before it, and identified by its presentation time, not by counting. The index is
verified by decoding both ends of the file, where cuts and damage are found. If it is wrong (no times, equal times,
hidden frames, damaged packets), the file is decoded once and the index lists the frames of the decoder. If seeking does
not reach a frame, decoding starts further back, at last from the first frame.
"""

from __future__ import annotations

import operator
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from thinkseg.errors import VideoError

_THREADS = 4
"""Decoder threads. Each one stores a frame, and delays the first frame after a seek by a packet."""

_CACHE_BYTES = 64 << 20
"""Memory for recently decoded frames. With it, reading backward decodes each section once, not once per frame."""

_MAX_SKIPPED = 4
"""Up to so many frames, decoding and dropping is faster than seeking."""

_TEXT_CODECS = {"ansi", "bintext", "idf", "xbin"}
"""Codecs with which FFmpeg decodes text files as images of a terminal."""

_HIDDEN_FRAMES = {"vp8"}
"""Codecs with reference frames that are not shown and that containers do not mark."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that support transparency, unlike FFmpeg's own."""


class VideoFile:
    """A video file; frames uint8 RGB (H, W, 3), upright, transparency on white. Implements `thinkseg.types.Frames`.

    A pixel aspect ratio is not applied. Frames of another size than the first are resized to it. Caches up to 64 MB of
    recently decoded frames. Pickling keeps the index. Not thread-safe, but several readers can open one file.

    Raises VideoError if the file does not exist, is not a video, or has no video track or no frame.
    """

    name: str
    size_wh: tuple[int, int]
    fps: float | None

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._decoder = _Decoder(self.path)
        self._index = _build_index(self._decoder)
        if not len(self._index):
            raise VideoError(f"{self.path} has no frame that can be decoded; check that the file is complete")
        self.fps = self._index.fps
        self.close()
        first = self._frame(0)
        self._coded_wh = first.width, first.height
        self._matrix = _display_matrix(first)
        height, width = _upright(np.empty((first.height, first.width, 0)), self._matrix).shape[:2]
        self.size_wh = width, height
        self.close()

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns frame `index`. Raises IndexError outside 0..len-1, VideoError if the frame is damaged."""
        frame = self._frame(self._checked(index))
        return np.ascontiguousarray(_upright(_to_rgb(frame, self._coded_wh), self._matrix))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields frames in the order of `indices`; ascending ones are decoded in one pass."""
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        """Returns the time since the first frame in seconds; None for a raw stream without a frame rate."""
        index = self._checked(index)
        return None if self._index.seconds is None else float(self._index.seconds[index])

    def close(self) -> None:
        """Closes the file and clears the cache. Reading another frame opens the file again."""
        self._decoder.close()
        self._decoding: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._cache: OrderedDict[int, av.VideoFrame] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_decoder", "_decoding", "_cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._decoder = _Decoder(self.path, careful=self._index.irregular)
        self.close()

    def _checked(self, index: int) -> int:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} is not in {self.path.name}; give an index from 0 to {len(self) - 1}")
        return index

    def _frame(self, index: int) -> av.VideoFrame:
        """Returns a frame from the cache, or decodes it from the current position or from a keyframe before it."""
        if index in self._cache:
            return self._cache[index]
        last = next(reversed(self._cache), -1)
        entry = self._index.entry(index)
        if 0 <= last < index and entry <= last + _MAX_SKIPPED and self._advance(index):
            return self._cache[index]
        for start in dict.fromkeys((entry, self._index.entry(entry - 1), 0)):
            if self._advance_from(start, index):
                return self._cache[index]
        if not self._decoder.careful:
            self._decoder.careful = True
            if self._advance_from(0, index):
                return self._cache[index]
        raise VideoError(
            f"frame {index} of {self.path} cannot be decoded; repair the file: ffmpeg -i {self.path} repaired.mp4"
        )

    def _advance_from(self, start: int, index: int) -> bool:
        self._decoding = self._decode_from(start)
        return self._advance(index)

    def _advance(self, index: int) -> bool:
        """Decodes up to frame `index` and caches the frames. Returns False if the decoder skips it."""
        for position, frame in self._decoding:
            self._add_to_cache(position, frame)
            if position >= index:
                return position == index
        return False

    def _decode_from(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yields frames with their indices from the entry `start` on. Earlier ones are not reliable after a seek."""
        if start == 0:
            self._decoder.rewind()
        else:
            self._decoder.seek(int(self._index.pts[start]))
        for count, frame in enumerate(self._decoder.frames()):
            position = count if self._index.by_count else self._index.position(frame.pts)
            if position is not None and position >= start:
                yield position, frame

    def _add_to_cache(self, position: int, frame: av.VideoFrame) -> None:
        """Adds a frame to the cache and drops the oldest ones."""
        self._cache.pop(position, None)
        self._cache[position] = frame
        max_frames = max(2, _CACHE_BYTES // sum(plane.buffer_size for plane in frame.planes))
        while len(self._cache) > max_frames:
            self._cache.popitem(last=False)


@dataclass(frozen=True)
class _Index:
    """All frames of a file in presentation order.

    pts: int64 (T,), strictly ascending presentation times in the stream's units; frame numbers if `by_count`, for
        files without distinct times.
    entries: frames at which decoding can start, ascending; the first is 0.
    seconds: float64 (T,), since the first frame; None if unknown.
    irregular: the frames differ from the packets, so that the decoder must be careful.
    """

    pts: np.ndarray
    entries: list[int]
    seconds: np.ndarray | None
    fps: float | None
    by_count: bool = False
    irregular: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    def entry(self, index: int) -> int:
        """Returns the last entry at or before a frame, or the first one."""
        return self.entries[max(bisect_right(self.entries, index) - 1, 0)]

    def position(self, pts: int | None) -> int | None:
        """Returns the frame with a presentation time; None without one, as for frames that an edit list removes."""
        if pts is None:
            return None
        found = int(np.searchsorted(self.pts, pts))
        return found if found < len(self.pts) and self.pts[found] == pts else None


class _Decoder:
    """Decodes a file forward from the last seek.

    careful: decode one frame at a time, from the next rewind on. Decoding several in parallel is faster, but loses
        valid frames next to a damaged packet.
    """

    def __init__(self, path: Path, careful: bool = False) -> None:
        self._path = path
        self.careful = careful
        self._container: Any = None

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> None:
        self._container = _open_container(self._path)
        self.stream = _video_stream(self._container, self._path)
        self.codec = self.stream.codec_context.codec.canonical_name
        self._context: Any = self.stream.codec_context
        if self.stream.metadata.get("alpha_mode") == "1" and self.codec in _ALPHA_DECODERS:
            self._context = av.CodecContext.create(_ALPHA_DECODERS[self.codec], "r")
        self._context.thread_type = "SLICE" if self.careful else "AUTO"
        self._context.thread_count = _THREADS

    def rewind(self) -> None:
        """Goes to the start by opening the file again, which works for all containers."""
        self.close()
        self._open()

    def seek(self, pts: int) -> None:
        """Goes to the last keyframe at or before a time, or to the start if the container cannot seek."""
        if self._container is None:
            self._open()
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            self.rewind()
        self._context.flush_buffers()

    def packets(self) -> Iterator[av.Packet]:
        """Yields packets up to the end, or up to where the file is truncated."""
        try:
            yield from (packet for packet in self._container.demux(self.stream) if packet.size)
        except av.InvalidDataError:
            return
        except av.FFmpegError as error:
            raise VideoError(f"{self._path} cannot be read to its end ({error.strerror}); copy it again") from error

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields frames up to the end in presentation order. A damaged packet loses only its own frame."""
        for packet in chain(self.packets(), [None]):
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError:
                continue
            yield from frames


def _open_container(path: Path) -> Any:
    if not os.path.isfile(path):
        raise VideoError(f"{path} does not exist or is not a file; check the path")
    try:
        # Without the prefix, a colon in a file name is read as a protocol.
        return av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"{path} is not a readable video ({error.strerror}); check that it is complete") from error


def _video_stream(container: Any, path: Path) -> Any:
    """Returns the first video track that is neither a cover image nor text."""
    for stream in container.streams.video:
        if stream.codec_context is None:
            raise VideoError(f"{path} has an unsupported video format; convert it to H.264")
        if not stream.disposition & Disposition.attached_pic and stream.codec_context.name not in _TEXT_CODECS:
            return stream
    raise VideoError(f"{path} has no video track; give a file with video")


def _build_index(decoder: _Decoder) -> _Index:
    """Indexes a file by its packets, or by decoding it once if those are not reliable."""
    decoder.rewind()
    # An edit list marks packets as discarded if their frames are only references of other frames.
    packets = [
        (packet.pts, packet.is_keyframe, packet.is_corrupt) for packet in decoder.packets() if not packet.is_discard
    ]
    timed = all(pts is not None for pts, _, _ in packets)
    if timed and decoder.codec not in _HIDDEN_FRAMES and not any(corrupt for _, _, corrupt in packets):
        index = _timed_index(sorted((pts, keyframe) for pts, keyframe, _ in packets), decoder)
        if index is not None and _agrees(index, decoder):
            return index
    decoder.careful = True
    decoder.rewind()
    # Keyframes are taken from packets: some decoders, as of animated PNG, report every frame as one.
    keyframes = {pts for pts, keyframe, _ in packets if keyframe}
    decoded = [(frame.pts, frame.pts in keyframes) for frame in decoder.frames()]
    index = _timed_index(decoded, decoder) if timed else None
    return replace(index or _counted_index(len(decoded), decoder), irregular=True)


def _timed_index(frames: list[tuple[int | None, bool]], decoder: _Decoder) -> _Index | None:
    """Makes an index of frames (presentation time, is a keyframe). Returns None if times are not ascending."""
    times = [pts for pts, _ in frames if pts is not None]
    pts = np.array(times, np.int64)
    if len(times) == 0 or len(times) != len(frames) or (np.diff(pts) <= 0).any():
        return None
    unit = decoder.stream.time_base
    seconds = (pts - pts[0]) * unit.numerator / unit.denominator
    entries = [position for position, (_, keyframe) in enumerate(frames) if keyframe and position]
    fps = float((len(pts) - 1) / seconds[-1]) if len(pts) > 1 else _stated_rate(decoder)
    return _Index(pts, [0, *entries], seconds, fps)


def _counted_index(count: int, decoder: _Decoder) -> _Index:
    """Makes an index of frames without times; seconds follow from the stated frame rate."""
    rate = _stated_rate(decoder)
    numbers = np.arange(count)
    return _Index(numbers, [0], numbers / rate if rate else None, rate, by_count=True)


def _stated_rate(decoder: _Decoder) -> float | None:
    rate = decoder.stream.average_rate or decoder.stream.guessed_rate
    return float(rate) if rate else None


def _agrees(index: _Index, decoder: _Decoder) -> bool:
    """Returns whether decoding gives the index's first frame, and its frames from the last entry to the end."""
    decoder.rewind()
    first = next(decoder.frames(), None)
    if first is None or first.pts != index.pts[0]:
        return False
    start = int(index.pts[index.entries[-1]])
    decoder.seek(start)
    decoded = [frame.pts for frame in decoder.frames() if frame.pts is None or frame.pts >= start]
    return decoded == index.pts[index.entries[-1] :].tolist()


def _to_rgb(frame: av.VideoFrame, size_wh: tuple[int, int]) -> np.ndarray:
    """Converts a frame of any pixel format to uint8 RGB of a size, with transparency on white."""
    width, height = size_wh
    if not any(component.is_alpha for component in frame.format.components) and frame.format.name != "pal8":
        return frame.to_ndarray(format="rgb24", width=width, height=height)
    rgba = frame.to_ndarray(format="rgba", width=width, height=height)
    opacity = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Returns the linear part (a, b, c, d) of a frame's display matrix: x' = a x + c y, y' = b x + d y."""
    side_data: Any = frame.side_data
    if "DISPLAYMATRIX" in side_data:
        a, b, _, c, d, *_ = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32).tolist()
        return a, b, c, d
    return 1, 0, 0, 1


def _upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Returns a view of an image (H, W, C), rotated by quarter turns and mirrored by its display matrix."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
