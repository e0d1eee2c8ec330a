"""Random access to the frames of a video file, of any format that PyAV reads, with exact indices and times.

Packets are listed once without decoding; their sorted presentation times are the index of frames. The index is
verified by decoding both ends of the file, where cuts and damage are found. If it is wrong (no times, equal times,
hidden frames, damaged packets), the file is decoded once and the index lists the frames of the decoder.

A frame that is jumped to is, bit by bit, the frame that reading in order gives. Decoding starts at exactly one of the
packets whose bytes guarantee this (see `entry_points`), at or before the frame, which is identified by its presentation
time. Where a file has no such packets, decoding starts at the first frame; the first long jump into it compares what
its other keyframes give with the frames in order, and those that give the same are used from then on.
"""

from __future__ import annotations

import math
import operator
import os
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, dropwhile, takewhile, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition

from thinkseg.errors import VideoError
from thinkseg.ops.entry_points import Start, start_of
from thinkseg.ops.pictures import MAX_PIXELS_VARIABLE, check_pixels, max_pixels

_THREADS = 4
"""Decoder threads. Each one stores a frame, and delays the first frame after a seek by a packet."""

_CACHE_BYTES = 64 << 20
"""Memory for recently decoded frames. With it, reading backward decodes each section once, not once per frame."""

_MAX_SKIPPED = 4
"""Up to so many frames, decoding and dropping is faster than seeking."""

_LONG_WAY = 250
"""A jump that decodes more frames than this justifies comparing keyframes, which decodes the whole file twice."""

_TEXT_CODECS = {"ansi", "bintext", "idf", "xbin"}
"""Codecs with which FFmpeg decodes text files as images of a terminal."""

_REFERRING_FORMATS = {"concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub"}
"""Formats of files that name other files or addresses, whose frames they would show."""

_HIDDEN_FRAMES = {"vp8"}
"""Codecs with reference frames that are not shown and that containers do not mark."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that support transparency, unlike FFmpeg's own."""


class VideoFile:
    """A video file; frames uint8 RGB (H, W, 3), upright, transparency on white. Implements `thinkseg.types.Frames`.

    A pixel aspect ratio is not applied. Frames of another size than the first are resized to it. Caches up to 64 MB of
    recently decoded frames. Pickling keeps the index. Not thread-safe, but several readers can open one file.

    comment: the tag of this name in the file, "" without one.

    Raises VideoError if the file does not exist, is not a video, is a playlist, has no video track or no frame, or has
    frames of more pixels than `ops.pictures` allows.
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
            raise VideoError(
                f"{self.path} has no frame that can be decoded; check that the file is complete,"
                f" and that frames have at most {max_pixels()} pixels ({MAX_PIXELS_VARIABLE})"
            )
        self.fps = self._index.fps
        self.comment = self._decoder.comment
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
        return self._image(self._frame(self._checked(index)))

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

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        return np.ascontiguousarray(_upright(_to_rgb(frame, self._coded_wh), self._matrix))

    def _checked(self, index: int) -> int:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} is not in {self.path.name}; give an index from 0 to {len(self) - 1}")
        return index

    def _frame(self, index: int) -> av.VideoFrame:
        """Returns a frame from the cache, or decodes it from the current position or from an entry before it."""
        if index in self._cache:
            return self._cache[index]
        last = next(reversed(self._cache), -1)
        entry = self._index.entry(index)
        if 0 <= last < index and entry <= last + _MAX_SKIPPED and self._advance(index):
            return self._cache[index]
        if index - entry > _LONG_WAY and self._index.unsure:
            self._index = self._compare_keyframes()
            entry = self._index.entry(index)
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
        """Yields frames with their indices from a keyframe on; nothing if it is not found or is damaged."""
        frames = self._decoder.frames_from(self._index.keyframes.get(start))
        for count, frame in enumerate(frames):
            position = count if self._index.by_count else self._index.position(frame.pts)
            if position is None or position < start:
                continue
            if position == start > 0 and frame.is_corrupt:
                # A decoder fills gaps with what it decoded before.
                return
            yield position, frame

    def _compare_keyframes(self) -> _Index:
        """Returns the index with those keyframes as entries that give the frames that decoding in order gives."""
        ordered = list(self._checksums(0))
        entries, end = list[int](), len(self)
        for start in sorted(self._index.keyframes, reverse=True):
            expected = (pair for pair in ordered if start <= pair[0] < end)
            found = takewhile(lambda pair, end=end: pair[0] < end, self._checksums(start))  # type: ignore[misc]
            if start in self._index.entries or all(one == other for one, other in zip_longest(expected, found)):
                entries.insert(0, start)
                end = start
        return replace(self._index, entries=[0, *entries], unsure=False)

    def _checksums(self, start: int) -> Iterator[tuple[int, int]]:
        return ((position, zlib.crc32(self._image(frame).data)) for position, frame in self._decode_from(start))

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
    seconds: float64 (T,), since the first frame; None if unknown.
    keyframes: packets that the container flags as keyframes, by their frame; without the first frame.
    entries: frames from which decoding gives the frames of decoding in order, ascending; the first is 0.
    unsure: other keyframes may be entries, too.
    irregular: the frames differ from the packets, so that the decoder must be careful.
    """

    pts: np.ndarray
    seconds: np.ndarray | None
    fps: float | None
    keyframes: Mapping[int, _Packet]
    entries: list[int]
    unsure: bool = False
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


class _Packet(NamedTuple):
    """A packet without its data. Times are None if the container has none."""

    pts: int | None
    dts: int | None
    size: int
    keyframe: bool
    damaged: bool
    start: Start

    def is_at(self, packet: av.Packet) -> bool:
        return (packet.pts, packet.size, packet.is_keyframe) == (self.pts, self.size, True)


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
        self._container = open_container(self._path)
        self.comment = str(self._container.metadata.get("comment", ""))
        self.stream = _video_stream(self._container, self._path)
        self._context: Any = self.stream.codec_context
        check_pixels((self._context.width, self._context.height), self._path)
        self.codec = self._context.codec.canonical_name
        self.reorders = bool(self._context.has_b_frames)
        if self.stream.metadata.get("alpha_mode") == "1" and self.codec in _ALPHA_DECODERS:
            self._context = av.CodecContext.create(_ALPHA_DECODERS[self.codec], "r")
        self._context.options = {"max_pixels": str(max_pixels())}
        self._context.thread_type = "SLICE" if self.careful else "AUTO"
        self._context.thread_count = _THREADS

    def rewind(self) -> None:
        """Goes to the start by opening the file again, which works for all containers."""
        self.close()
        self._open()

    def frames_from(self, keyframe: _Packet | None) -> Iterator[av.VideoFrame]:
        """Yields frames in presentation order to the end, decoded from a packet on, or from the start if it is None.

        Nothing is yielded if the container does not find the packet.
        """
        if keyframe is None:
            self.rewind()
            return self.frames(self.packets())
        self._seek(keyframe)
        packets = dropwhile(lambda packet: not keyframe.is_at(packet), self.packets())
        return self.frames(packets)

    def _seek(self, keyframe: _Packet) -> None:
        """Goes to a keyframe or one before it, or to the start if the container cannot seek."""
        if self._container is None or keyframe.start is Start.UNSURE:
            # Decoders of such codecs keep what they know from before a seek.
            self.rewind()
        try:
            # Most containers seek by decoding times.
            self._container.seek(keyframe.pts if keyframe.dts is None else keyframe.dts, stream=self.stream)
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

    def frames(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """Yields the frames of packets in presentation order. A damaged packet loses only its own frame."""
        for packet in chain(packets, [None]):
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError:
                continue
            yield from frames


def open_container(path: Path) -> Any:
    """Opens a file for PyAV that is a video itself and refers to no other. Raises VideoError for all others."""
    if not os.path.isfile(path):
        raise VideoError(f"{path} does not exist or is not a file; check the path")
    formats = ",".join(sorted(av.formats_available - _REFERRING_FORMATS))
    options = {"format_whitelist": formats, "protocol_whitelist": "file", "max_pixels": str(max_pixels())}
    try:
        # Without the prefix, a colon in a file name is read as a protocol.
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.ArgumentError:
        raise VideoError(f"{path} is not a video but refers to other files, or is damaged; give a video file") from None
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
    packets = _list_packets(decoder)
    times = [packet.pts for packet in packets if packet.pts is not None]
    timed = len(times) == len(packets)
    if timed and decoder.codec not in _HIDDEN_FRAMES and not any(packet.damaged for packet in packets):
        index = _timed_index(sorted(times), packets, decoder)
        # Formats without presentation times, as AVI, get invented ones, wrong where the decoder reorders frames.
        invented = decoder.reorders and times == sorted(times)
        if index is not None and _agrees(index, decoder, entirely=invented):
            return index
    decoder.careful = True
    decoded = [frame.pts for frame in decoder.frames_from(None)]
    # What a decoder makes of damage does not follow from the bytes of a packet.
    packets = [packet._replace(start=Start.UNSURE) for packet in packets]
    index = _timed_index(decoded, packets, decoder) if timed else None
    return replace(index or _counted_index(len(decoded), decoder), irregular=True)


def _list_packets(decoder: _Decoder) -> list[_Packet]:
    """Lists the packets of frames in decoding order."""
    extradata = decoder.stream.codec_context.extradata or b""
    packets, changed = [], False
    for packet in decoder.packets():
        changed = changed or packet.has_sidedata("new_extradata")
        # An edit list marks packets as discarded if their frames are only references of other frames.
        if not packet.is_discard:
            start = start_of(decoder.codec, extradata, bytes(packet)) if packet.is_keyframe else Start.UNSURE
            packets.append(_Packet(packet.pts, packet.dts, packet.size, packet.is_keyframe, packet.is_corrupt, start))
    starts = {packet.start for packet in packets}
    # Parameter sets in some packets may hold for others.
    trusted = set() if changed else {Start.DESCRIBED} if Start.DESCRIBED in starts else {Start.COMPLETE}
    untrusted = starts - trusted - {Start.UNSURE}
    return [packet._replace(start=Start.UNSURE) if packet.start in untrusted else packet for packet in packets]


def _timed_index(times: Sequence[int | None], packets: Sequence[_Packet], decoder: _Decoder) -> _Index | None:
    """Makes an index of frames by their presentation times. Returns None if these are not ascending."""
    pts = np.array([time for time in times if time is not None], np.int64)
    if len(pts) == 0 or len(pts) != len(times) or (np.diff(pts) <= 0).any():
        return None
    unit = decoder.stream.time_base
    seconds = (pts - pts[0]) * unit.numerator / unit.denominator
    fps = float((len(pts) - 1) / seconds[-1]) if len(pts) > 1 else _stated_rate(decoder)
    flagged = {packet.pts: packet for packet in packets if packet.keyframe}
    # Some decoders, as of animated PNG, report every frame as a keyframe; packets do not.
    keyframes = {position: flagged[time] for position, time in enumerate(times) if position and time in flagged}
    sure = [position for position, packet in keyframes.items() if packet.start is not Start.UNSURE]
    return _Index(pts, seconds, fps, keyframes, [0, *sure], unsure=len(sure) < len(keyframes))


def _counted_index(count: int, decoder: _Decoder) -> _Index:
    """Makes an index of frames without times; seconds follow from the stated frame rate."""
    rate = _stated_rate(decoder)
    numbers = np.arange(count)
    return _Index(numbers, numbers / rate if rate else None, rate, {}, [0], by_count=True)


def _stated_rate(decoder: _Decoder) -> float | None:
    rate = decoder.stream.average_rate or decoder.stream.guessed_rate
    return float(rate) if rate else None


def _agrees(index: _Index, decoder: _Decoder, entirely: bool) -> bool:
    """Returns whether decoding gives the index's first frame, and its frames from the last keyframe to the end.

    entirely: decode and compare all frames.
    """
    first = next(decoder.frames_from(None), None)
    if first is None or first.pts != index.pts[0]:
        return False
    last = 0 if entirely else max(index.keyframes, default=0)
    start = index.pts[last]
    times = [frame.pts for frame in decoder.frames_from(index.keyframes.get(last))]
    return [time for time in times if time is None or time >= start] == index.pts[last:].tolist()


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
    try:
        side_data: Any = frame.side_data
    except ValueError:
        # PyAV refuses all side data if one kind is unknown, as EXIF and second views.
        cosine, sine = (round(part(math.radians(frame.rotation))) for part in (math.cos, math.sin))
        return cosine, -sine, sine, cosine
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
