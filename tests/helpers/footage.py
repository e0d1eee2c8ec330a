"""Small videos made on the spot, each frame of which bears its number in black and white blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SIZE_WH = (64, 48)

# (file suffix, encoder, pixel format, encoder options)
Coding = tuple[str, str, str, dict[str, str]]

# Every way a user's file may be coded.
CODINGS: dict[str, Coding] = {
    "h264": (".mp4", "libx264", "yuv420p", {"g": "12", "bf": "3", "sc_threshold": "0"}),
    "h264 open gop": (".mp4", "libx264", "yuv420p", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "h264 rolling intra": (".ts", "libx264", "yuv420p", {"g": "12", "x264-params": "intra-refresh=1:scenecut=0"}),
    "h264 one keyframe": (".mkv", "libx264", "yuv420p", {"g": "250", "sc_threshold": "0"}),
    "h264 all keyframes": (".mov", "libx264", "yuv420p", {"g": "1"}),
    "h264 transport stream": (".ts", "libx264", "yuv420p", {"g": "12", "bf": "2", "sc_threshold": "0"}),
    "h264 bare": (".h264", "libx264", "yuv420p", {"g": "12", "bf": "2", "sc_threshold": "0"}),
    "hevc": (".mp4", "libx265", "yuv420p", {"x265-params": "keyint=12:open-gop=1:bframes=3:log-level=none"}),
    "hevc 10 bit": (".mkv", "libx265", "yuv420p10le", {"x265-params": "keyint=12:log-level=none"}),
    "vp8": (".webm", "libvpx", "yuv420p", {"g": "12", "auto-alt-ref": "0"}),
    "vp9": (".webm", "libvpx-vp9", "yuv420p", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "av1": (".mp4", "libsvtav1", "yuv420p", {"g": "12", "preset": "12"}),
    "mpeg4": (".avi", "mpeg4", "yuv420p", {"g": "12", "bf": "2", "sc_threshold": "0"}),
    "mjpeg": (".mov", "mjpeg", "yuvj420p", {}),
    "ffv1": (".mkv", "ffv1", "yuv420p", {}),
    "gif": (".gif", "gif", "rgb8", {}),
}


def grainy(number: int) -> np.ndarray:
    """A numbered frame that takes some space in a file."""
    grain = np.random.default_rng(number).integers(-12, 13, (SIZE_WH[1], SIZE_WH[0], 1))
    return (numbered(number) + grain).astype(np.uint8)


def lively(number: int) -> np.ndarray:
    """A frame that is hard to predict: changing scenes, a moving square, a blinking corner, and grain."""
    scene, changing = np.random.default_rng(number // 13), np.random.default_rng(number)
    frame = scene.integers(0, 256, (3, 4, 3)).repeat(16, 0).repeat(16, 1)
    left = number * 3 % (SIZE_WH[0] - 16)
    frame[10:26, left : left + 16] = scene.integers(0, 256, 3)
    frame[:6, :6] = changing.integers(0, 256, 3)
    return np.clip(frame + changing.integers(-9, 10, frame.shape), 0, 255).astype(np.uint8)


def in_colors_of(number: int, frame: np.ndarray) -> av.VideoFrame:
    """A frame of 28 colors of a palette that changes now and then."""
    indices = (frame // 86 @ np.array([9, 3, 1], np.uint8)).astype(np.uint8)
    palette = np.random.default_rng(number // 9).integers(0, 256, (256, 4), np.uint8)
    palette[:, 0] = 255  # opaque
    return av.VideoFrame.from_ndarray((indices, palette), format="pal8")


def numbered(number: int, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """A frame whose 8 vertical stripes spell its number in binary: bright is 1, the last stripe is the lowest bit."""
    bits = [(number >> (7 - bit)) & 1 for bit in range(8)]
    stripes = np.array(bits, np.uint8)[np.arange(size_wh[0]) * 8 // size_wh[0]] * 200 + 28
    return np.broadcast_to(stripes[None, :, None], (size_wh[1], size_wh[0], 3)).copy()


def number_of(frame: np.ndarray) -> int:
    """The number a frame bears."""
    middles = [frame[:, frame.shape[1] * (2 * bit + 1) // 16].mean() for bit in range(8)]
    return sum((middle > 128) << (7 - bit) for bit, middle in enumerate(middles))


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    coding: str | Coding = "h264",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 10),
    matrix: Sequence[int] | None = None,
    **overrides: Any,
) -> Path:
    """Writes frames (RGB, or RGBA if the pixel format has transparency) with a coding or one named; 10 a second.

    Clips are the same on every machine: encoders have one thread.
    """
    _, encoder, pixels, options = CODINGS[coding] if isinstance(coding, str) else coding
    pixels = overrides.pop("pixels", pixels)
    with av.open(str(path), "w", options=overrides.pop("container_options", {})) as container:
        rate = overrides.pop("rate", 10)
        stream: Any = container.add_stream(encoder, rate=rate, options={**options, **overrides})
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = time_base
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
                if matrix is not None:
                    stream.set_display_matrix(matrix)
            if pixels == "pal8":
                picture = in_colors_of(number, frame)
            else:
                picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[2] == 4 else "rgb24")
            picture.pts = number if pts is None else pts[number]
            picture.time_base = time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def clip(folder: Path, coding: str = "h264", count: int = 50, **settings: Any) -> Path:
    """A clip of `count` numbered frames."""
    path = folder / f"clip{CODINGS[coding][0]}"
    return write(path, (numbered(number) for number in range(count)), coding, **settings)


def packets(path: Path) -> list[tuple[int, int, bool]]:
    """(position in the file, size, keyframe) of each packet of a video file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def remux(source: Path, path: Path, skip: int = 0, keyframes: int = 0) -> Path:
    """Copies packets into another file, without the first `skip`; every `keyframes`-th is said to be a keyframe."""
    with av.open(str(source)) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        packets = [packet for packet in reading.demux(video=0) if packet.size]
        for number, packet in enumerate(packets[skip:]):
            packet.is_keyframe |= bool(keyframes) and number % keyframes == 0
            packet.stream = stream
            writing.mux(packet)
    return path


def overwrite(path: Path, start: int, data: bytes) -> None:
    """Damages a file."""
    content = bytearray(path.read_bytes())
    content[start : start + len(data)] = data
    path.write_bytes(content)


def hide(path: Path, packet_number: int) -> None:
    """Marks a frame of a VP8 file as one that is not shown but that others may refer to."""
    with av.open(str(path)) as container:
        payload = bytes([packet for packet in container.demux(video=0) if packet.size][packet_number])
    overwrite(path, path.read_bytes().index(payload), bytes([payload[0] & ~0x10]))


def cut_start(path: Path, seconds: Fraction) -> None:
    """Trims an mp4 as phones do: frames stay in the file, its edit list says to begin later."""
    content = path.read_bytes()
    header = content.index(b"mdhd") + 4
    (timescale,) = struct.unpack_from(">I", content, header + 12)
    entry = content.index(b"elst") + 12
    (begin,) = struct.unpack_from(">i", content, entry + 4)
    overwrite(path, entry + 4, struct.pack(">i", begin + int(seconds * timescale)))
