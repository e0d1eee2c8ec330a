"""One video file as frames on demand: any file PyAV reads in, upright RGB frames with exact indices and times out.

How a frame is found. Packets are listed once without decoding; their presentation times, sorted, are the frames. A
frame is then reached from the nearest keyframe at or before it, and recognised by its presentation time, never by
counting. The list is believed only if decoding agrees with it at both ends of the file, where cuts and damage show;
otherwise (no times, times that repeat, hidden frames, damaged packets) the file is decoded once to list what really
comes out. A frame that cannot be reached by seeking is looked for from further back, at last from the start.
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
"""Decoder threads: each holds one more frame and delays the first frame after a seek by one packet."""

_RECENT_BYTES = 64 << 20
"""Memory for frames just decoded. Reading backwards then decodes each stretch once, not once for each frame."""

_AHEAD = 4
"""Frames that are decoded and dropped rather than skipped by seeking."""

_TEXT_CODECS = {"ansi", "bintext", "idf", "xbin"}
"""FFmpeg would show a plain text file as a video of a terminal."""

_HIDDEN_FRAMES = {"vp8"}
"""Codecs with packets that only others refer to, which no container marks."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that see transparency where FFmpeg's own do not."""


class VideoFile:
    """A video file; frames uint8 RGB (H, W, 3), upright, transparency over white. Satisfies `types.Frames`.

    Pixels are those of the file: a pixel aspect ratio is not applied. Frames of another size than the first are scaled
    to it. Only frames decoded lately are held, 64 MB at most, and none before the first is asked for. Readers of one
    file do not disturb each other; a pickled reader takes its index along. One reader is not for several threads.

    Raises VideoError if the file is missing, not a video, without a video track or without a single frame.
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
            raise VideoError(f"{self.path} has no frame that decodes; is the file complete?")
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
        """Frame `index`. Raises IndexError outside 0..len-1, VideoError if the file is damaged there."""
        frame = self._frame(self._checked(index))
        return np.ascontiguousarray(_upright(_to_rgb(frame, self._coded_wh), self._matrix))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The named frames in the order asked for; ascending indices are decoded in one pass."""
        for index in indices:
            yield self[index]

    def time_of(self, index: int) -> float | None:
        """Seconds from the first frame to this one; None for a bare stream that states no rate."""
        index = self._checked(index)
        return None if self._index.seconds is None else float(self._index.seconds[index])

    def close(self) -> None:
        """Lets go of the open file and the frames held. The next frame asked for opens the file again."""
        self._decoder.close()
        self._cursor: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._recent: OrderedDict[int, av.VideoFrame] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_decoder", "_cursor", "_recent")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._decoder = _Decoder(self.path, careful=self._index.irregular)
        self.close()

    def _checked(self, index: int) -> int:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {self.path.name}, which has frames 0 to {len(self) - 1}")
        return index

    def _frame(self, index: int) -> av.VideoFrame:
        """The decoded frame: a recent one, or from the decoder where it stands, or from a keyframe before it."""
        if index in self._recent:
            return self._recent[index]
        last = next(reversed(self._recent), -1)
        entry = self._index.entry(index)
        if 0 <= last < index and entry <= last + _AHEAD and self._advance(index):
            return self._recent[index]
        for start in dict.fromkeys((entry, self._index.entry(entry - 1), 0)):
            if self._advance_from(start, index):
                return self._recent[index]
        if not self._decoder.careful:
            self._decoder.careful = True
            if self._advance_from(0, index):
                return self._recent[index]
        raise VideoError(
            f"frame {index} of {self.path} does not decode; mend the file: ffmpeg -i {self.path} mended.mp4"
        )

    def _advance_from(self, start: int, index: int) -> bool:
        self._cursor = self._walk(start)
        return self._advance(index)

    def _advance(self, index: int) -> bool:
        """Decodes up to frame `index`, remembering the way. False if it did not come."""
        for position, frame in self._cursor:
            self._remember(position, frame)
            if position >= index:
                return position == index
        return False

    def _walk(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their indices, decoded from entry `start`. What a decoder shows of before it is not reliable."""
        if start == 0:
            self._decoder.rewind()
        else:
            self._decoder.seek(int(self._index.pts[start]))
        for count, frame in enumerate(self._decoder.frames()):
            position = count if self._index.by_count else self._index.position(frame.pts)
            if position is not None and position >= start:
                yield position, frame

    def _remember(self, position: int, frame: av.VideoFrame) -> None:
        """Keeps a frame, last in line, and lets the oldest go."""
        self._recent.pop(position, None)
        self._recent[position] = frame
        most = max(2, _RECENT_BYTES // sum(plane.buffer_size for plane in frame.planes))
        while len(self._recent) > most:
            self._recent.popitem(last=False)


@dataclass(frozen=True)
class _Index:
    """All frames of a file in the order they are shown.

    pts: int64 (T,), strictly ascending presentation times in the stream's units; the frame numbers themselves if
        by_count, for files whose times cannot tell frames apart.
    entries: frames that decoding can start from, ascending; never empty if there are frames, and the first is 0.
    seconds: float64 (T,) from the first frame; None if unknown.
    irregular: the file does not decode to what its packets promise, and wants a careful decoder.
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
        """The last entry at or before a frame; the first one for what is before all."""
        return self.entries[max(bisect_right(self.entries, index) - 1, 0)]

    def position(self, pts: int | None) -> int | None:
        """The frame shown at this time; None if there is none, as for frames that an edit list cuts off."""
        if pts is None:
            return None
        found = int(np.searchsorted(self.pts, pts))
        return found if found < len(self.pts) and self.pts[found] == pts else None


class _Decoder:
    """A file that decodes forward from where it was last told to begin.

    careful: from the next rewind on, decode one frame at a time. Several at once are faster, but around a packet that
    does not decode they lose frames that do.
    """

    def __init__(self, path: Path, careful: bool = False) -> None:
        self._path = path
        self.careful = careful
        self._container: Any = None

    def close(self) -> None:
        """Closes the file, if it is open."""
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
        """Begins again at the start. Opening anew is the one way that works for every container."""
        self.close()
        self._open()

    def seek(self, pts: int) -> None:
        """Goes to the last keyframe at or before a time; to the start where the container cannot seek."""
        if self._container is None:
            self._open()
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            self.rewind()
        self._context.flush_buffers()

    def packets(self) -> Iterator[av.Packet]:
        """The packets from here to the end, or to where the file breaks off."""
        try:
            yield from (packet for packet in self._container.demux(self.stream) if packet.size)
        except av.InvalidDataError:
            return
        except av.FFmpegError as error:
            raise VideoError(f"{self._path} cannot be read to its end ({error.strerror}); copy it anew") from error

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames from here to the end in the order shown. A packet that does not decode costs only its frame."""
        for packet in chain(self.packets(), [None]):
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError:
                continue
            yield from frames


def _open_container(path: Path) -> Any:
    if not os.path.isfile(path):
        raise VideoError(f"no video file at {path}; check the path")
    try:
        # The prefix keeps a colon in a file's name from being read as a protocol.
        return av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"{path} is not a video that can be read ({error.strerror}); is it complete?") from error


def _video_stream(container: Any, path: Path) -> Any:
    """The first video track that is one: not a cover picture, not a text file shown as a terminal."""
    for stream in container.streams.video:
        if stream.codec_context is None:
            raise VideoError(f"{path} holds video in a format that cannot be decoded; convert it to H.264 first")
        if not stream.disposition & Disposition.attached_pic and stream.codec_context.name not in _TEXT_CODECS:
            return stream
    raise VideoError(f"{path} has no video track; give a file with pictures, not only sound or text")


def _build_index(decoder: _Decoder) -> _Index:
    """The frames of a file, from its packets if these can be believed, else by decoding all of it once."""
    decoder.rewind()
    # An edit list marks packets as discarded whose frames only others refer to.
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
    # Packets know their keyframes; some decoders, of animated PNG for one, say so of every frame.
    keyframes = {pts for pts, keyframe, _ in packets if keyframe}
    decoded = [(frame.pts, frame.pts in keyframes) for frame in decoder.frames()]
    index = _timed_index(decoded, decoder) if timed else None
    return replace(index or _counted_index(len(decoded), decoder), irregular=True)


def _timed_index(frames: list[tuple[int | None, bool]], decoder: _Decoder) -> _Index | None:
    """An index of frames (presentation time, whether decoding can start there); None if times do not ascend."""
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
    """An index of frames that only their number tells apart; times by the rate the file states."""
    rate = _stated_rate(decoder)
    numbers = np.arange(count)
    return _Index(numbers, [0], numbers / rate if rate else None, rate, by_count=True)


def _stated_rate(decoder: _Decoder) -> float | None:
    rate = decoder.stream.average_rate or decoder.stream.guessed_rate
    return float(rate) if rate else None


def _agrees(index: _Index, decoder: _Decoder) -> bool:
    """Whether decoding gives the frames of an index at the start and from the last entry to the end of the file."""
    decoder.rewind()
    first = next(decoder.frames(), None)
    if first is None or first.pts != index.pts[0]:
        return False
    start = int(index.pts[index.entries[-1]])
    decoder.seek(start)
    decoded = [frame.pts for frame in decoder.frames() if frame.pts is None or frame.pts >= start]
    return decoded == index.pts[index.entries[-1] :].tolist()


def _to_rgb(frame: av.VideoFrame, size_wh: tuple[int, int]) -> np.ndarray:
    """A decoded frame as uint8 RGB of the given size, transparency over white, in any pixel format."""
    width, height = size_wh
    if not any(component.is_alpha for component in frame.format.components) and frame.format.name != "pal8":
        return frame.to_ndarray(format="rgb24", width=width, height=height)
    rgba = frame.to_ndarray(format="rgba", width=width, height=height)
    opacity = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The linear part (a, b, c, d) of a frame's display matrix: x' = a x + c y, y' = b x + d y."""
    side_data: Any = frame.side_data
    if "DISPLAYMATRIX" in side_data:
        a, b, _, c, d, *_ = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32).tolist()
        return a, b, c, d
    return 1, 0, 0, 1


def _upright(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """A view of a picture (H, W, C) as its display matrix wants it shown: by quarter turns, mirrored or not."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
