"""Whether a decoder that starts at a packet gives the frames of decoding in order: read from the bytes of the packet.

The keyframe flags of containers do not say so: H.264 files flag recovery points, at which only a part of the picture is
complete, and some codecs keep palettes, tables or canvases from before. In: a codec's name, its extradata and a packet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum

_INTRA_CODECS = {"dnxhd", "dvvideo", "ffvhuff", "huffyuv", "jpeg2000", "magicyuv", "prores", "utvideo", "v210"}
"""Codecs of whole frames whose decoders keep nothing from one to the next."""

_H264_IDR, _H264_PARAMETERS = {5}, {7, 8}
_HEVC_IRAP, _HEVC_PARAMETERS = set(range(16, 22)), {32, 33, 34}
_AV1_SEQUENCE_HEADER, _AV1_FRAME_HEADERS = 1, {3, 6}
_AV1_SHOWN_KEYFRAME = 0b0001

_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)


class Start(Enum):
    """What the bytes of a packet say about a decoder that starts there."""

    UNSURE = "may need what comes before"
    COMPLETE = "needs the extradata alone"
    DESCRIBED = "brings the parameter sets that it needs"


def start_of(codec: str, extradata: bytes, data: bytes) -> Start:
    """Returns how decoding may start at a packet. UNSURE where the bytes of this codec guarantee nothing."""
    check = _CHECKS.get(codec)
    return check(extradata, data) if check else Start.UNSURE


def _h264(extradata: bytes, data: bytes) -> Start:
    """An IDR picture: nothing after it in decoding order refers to anything before."""
    length_at = 4 if len(extradata) > 6 and extradata[0] == 1 else None
    kinds = {first & 31 for first in _nal_headers(extradata, data, length_at)}
    return _nal_start(kinds, _H264_IDR, _H264_PARAMETERS, length_at)


def _hevc(extradata: bytes, data: bytes) -> Start:
    """An IRAP picture: what follows it in presentation order refers to nothing before it."""
    length_at = 21 if len(extradata) > 22 and any(extradata[:2]) else None
    kinds = {first >> 1 & 63 for first in _nal_headers(extradata, data, length_at)}
    return _nal_start(kinds, _HEVC_IRAP, _HEVC_PARAMETERS, length_at)


def _nal_start(kinds: set[int], pictures: set[int], parameters: set[int], length_at: int | None) -> Start:
    """A stream whose extradata have no lengths (Annex B) has its parameter sets in the packets."""
    if not kinds & pictures:
        return Start.UNSURE
    if kinds >= parameters:
        return Start.DESCRIBED
    return Start.UNSURE if kinds & parameters or length_at is None else Start.COMPLETE


def _nal_headers(extradata: bytes, data: bytes, length_at: int | None) -> Iterator[int]:
    """Yields the first byte of each NAL unit. length_at: where the extradata state the size of the units' lengths."""
    if length_at is None:
        yield from (match[1][0] for match in _START_CODE.finditer(data))
        return
    width, at = (extradata[length_at] & 3) + 1, 0
    while at + width < len(data):
        yield data[at + width]
        at += width + int.from_bytes(data[at : at + width])


def _complete(condition: bool) -> Start:
    return Start.COMPLETE if condition else Start.UNSURE


def _vp8(_: bytes, data: bytes) -> Start:
    return _complete(not data[0] & 1)


def _vp9(_: bytes, data: bytes) -> Start:
    """A keyframe. Profile 3 has one more bit before the type of a frame."""
    header = data[0] if data[0] >> 4 & 3 < 3 else data[0] << 1
    return _complete(not header & 0b1100)


def _av1(_: bytes, data: bytes) -> Start:
    """A sequence header, then a keyframe that is shown."""
    units = list(_av1_units(data))
    frames = [first for kind, first in units if kind in _AV1_FRAME_HEADERS]
    described = any(kind == _AV1_SEQUENCE_HEADER for kind, _ in units)
    return _complete(described and bool(frames) and frames[0] >> 4 == _AV1_SHOWN_KEYFRAME)


def _av1_units(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the type and the first byte of each unit that has one."""
    at = 0
    while at < len(data):
        header = data[at]
        at += 2 if header & 4 else 1
        size, shift = len(data) - at, 0
        if header & 2:
            size = 0
            while at < len(data):
                size |= (data[at] & 127) << shift
                at, shift = at + 1, shift + 7
                if data[at - 1] < 128:
                    break
        if 0 < size <= len(data) - at:
            yield header >> 3 & 15, data[at]
        at += size


def _mjpeg(_: bytes, data: bytes) -> Start:
    """A picture with its own quantization and Huffman tables."""
    return _complete(b"\xff\xdb" in data and b"\xff\xc4" in data)


_CHECKS: dict[str, Callable[[bytes, bytes], Start]] = {
    "h264": _h264,
    "hevc": _hevc,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "mjpeg": _mjpeg,
    **dict.fromkeys(_INTRA_CODECS, lambda _, data: Start.COMPLETE),
}
