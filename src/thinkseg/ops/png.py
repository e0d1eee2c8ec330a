"""Grey pictures in PNG files, the form most masks come in: a file's bytes in, its pixels out.

Masks compress to next to nothing, so that reading one is all overhead, and a reader of any picture has much of that.
This one knows the plainest kind alone: 8 bits of grey, not interlaced, no chunks but those that must be there. Whatever
else a file is, damaged included, is left to a reader that knows more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from thinkseg.ops.bits import compiled

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PLAIN = bytes((8, 0, 0, 0, 0))
"""8 bits, grey, the only ways to compress and filter that there are, not interlaced."""


def read_grey(data: bytes, size_wh: tuple[int, int]) -> np.ndarray | None:
    """The pixels of a plain grey PNG of this size, uint8 (H, W); None for any other file, and any other size."""
    width, height = size_wh
    chunks = list(_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if kinds != [b"IHDR", *[b"IDAT"] * (len(kinds) - 2), b"IEND"]:
        return None
    if chunks[0][1] != width.to_bytes(4, "big") + height.to_bytes(4, "big") + _PLAIN:
        return None
    inflater = zlib.decompressobj()
    size = height * (width + 1)
    try:
        # No more than there should be: a few bytes can claim to be gigabytes.
        lines = inflater.decompress(b"".join(body for _, body in chunks[1:-1]), size + 1)
    except zlib.error:
        return None
    if len(lines) != size or not inflater.eof:
        return None
    picture = np.empty((height, width), np.uint8)
    return picture if _unfilter(np.frombuffer(lines, np.uint8).reshape(height, width + 1), picture) else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each whole and sound chunk of a PNG file, up to the first that is not."""
    position = len(_SIGNATURE)
    if not data.startswith(_SIGNATURE):
        return
    while position < len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            return
        yield data[position + 4 : position + 8], data[position + 8 : end]
        position = end + 4


@compiled
def _unfilter(lines, picture):
    """Undoes what each line's first byte says was done to it; False if a line says something unknown.

    A pixel was written as its difference (in bytes, which wrap) to what is expected of it, by the pixel on its left,
    the one above, and the one to the left of that, all 0 outside the picture.
    """
    height, width = picture.shape
    for y in range(height):
        kind = lines[y, 0]
        if kind > 4:
            return False
        line, row = lines[y, 1:], picture[y]
        if kind == 0:
            row[:] = line
            continue
        above = picture[y - 1] if y else np.zeros_like(row)
        if kind == 2:
            row[:] = line + above
            continue
        left = corner = 0
        for x in range(width):
            up = int(above[x])
            if kind == 1:
                guess = left
            elif kind == 3:
                guess = (left + up) // 2
            else:
                guess = _paeth(left, up, corner)
            left, corner = (int(line[x]) + guess) & 255, up
            row[x] = left
    return True


@compiled
def _paeth(left, up, corner):
    """Whichever of the three is nearest to left + up - corner; the first of equals."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
