"""What two packed masks share: bits of both in, pixels counted out, from which J and F follow.

The masks are strings of bits as `thinkseg.ops.bits` packs them, `lines` of `length` pixels. A pixel is on the contour if
it differs from the next one in its line, the one below in the next line, or the one after that; in the last line only
the first of these is asked, in the last place of a line only the second, and the very last pixel is never contour. That
is the same whether lines are rows or columns, and so are all counts.

Both contours are laid out in planes: a word for 64 pixels of a line, so many words a line, and one word of zeros between
lines, so that what is shifted out of a line comes to nothing. Planes hold only the lines and words near the masks.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.bits import compiled

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)


@compiled
def tally(ours, true, length, lines, widths):
    """Pixels in both masks and in either; on our contour, on the true one; of ours near the true one, of that near ours.

    widths: int64 (r + 1,), how far a disk of radius r reaches sideways in the line d lines from its centre.
    """
    both, either = _overlap(ours, true)
    if either == 0:
        return 0, 0, 0, 0, 0, 0
    top, bottom = _lines_seen(ours, true, length, lines)
    left, right = _words_seen(ours, true, length, top, bottom)
    our_plane = _contour(ours, length, lines, top, bottom, left, right)
    true_plane = _contour(true, length, lines, top, bottom, left, right)
    stride = right - left + 1
    on_ours, on_true = _shared(our_plane, our_plane), _shared(true_plane, true_plane)
    if on_ours == 0 or on_true == 0:
        return both, either, on_ours, on_true, 0, 0
    ours_near = _shared(our_plane, _grown(true_plane, stride, widths))
    true_near = _shared(true_plane, _grown(our_plane, stride, widths))
    return both, either, on_ours, on_true, ours_near, true_near


@compiled
def _overlap(ours, true):
    """Pixels in both masks, and in either."""
    both = either = 0
    for i in range(len(ours)):
        both += _count(ours[i] & true[i])
        either += _count(ours[i] | true[i])
    return both, either


@compiled
def _shared(plane, other):
    """Pixels in both planes."""
    total = 0
    for i in range(len(plane)):
        total += _count(plane[i] & other[i])
    return total


@compiled
def _count(word):
    """Ones in a word. LLVM knows this way of counting and has an instruction for it."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _lines_seen(ours, true, length, lines):
    """First line, and the one after the last, that may hold contour: contours begin a line before their mask."""
    first, last = 0, len(ours) - 1
    while ours[first] | true[first] == 0:
        first += 1
    while ours[last] | true[last] == 0:
        last -= 1
    return max(first * 64 // length - 1, 0), min((last * 64 + 63) // length + 1, lines)


@compiled
def _words_seen(ours, true, length, top, bottom):
    """First word of lines, and the one after the last, that may hold contour: it begins a pixel before its mask."""
    words = (length + 63) // 64
    seen = np.zeros(words, np.uint64)
    for line in range(top, bottom):
        start = line * length
        for k in range(words):
            seen[k] |= (_word(ours, start + 64 * k) | _word(true, start + 64 * k)) & _inside(length - 64 * k)
    left, right = 0, words
    while seen[left] == 0:
        left += 1
    while seen[right - 1] == 0:
        right -= 1
    return max(left - 1, 0), right


@compiled
def _word(bits, start):
    """The 64 bits from `start` on."""
    word, shift = start >> 6, np.uint64(start & 63)
    # Two steps, because a shift by 64 is undefined.
    return (bits[word] >> shift) | ((bits[word + 1] << _ONE) << (np.uint64(63) - shift))


@compiled
def _inside(count):
    """A word whose first `count` bits are ones: none if `count` is negative, all if it is over 64."""
    if count <= 0:
        return np.uint64(0)
    return _ONES >> np.uint64(64 - min(count, 64))


@compiled
def _contour(bits, length, lines, top, bottom, left, right):
    """The plane of a mask's contour in some lines and words of them."""
    stride = right - left + 1
    plane = np.zeros(1 + (bottom - top) * stride, np.uint64)
    for line in range(top, bottom):
        for k in range(left, right):
            start = line * length + 64 * k
            here = _word(bits, start)
            differs = (here ^ _word(bits, start + 1)) & _inside(length - 1 - 64 * k)
            if line + 1 < lines:
                differs |= (here ^ _word(bits, start + length)) & _inside(length - 64 * k)
                differs |= (here ^ _word(bits, start + length + 1)) & _inside(length - 1 - 64 * k)
            plane[1 + (line - top) * stride + k - left] = differs
    return plane


@compiled
def _grown(plane, stride, widths):
    """A plane with a disk around each of its pixels, in words that matter: those between lines are not kept clean."""
    grown = np.zeros_like(plane)
    wide, wider = plane.copy(), np.zeros_like(plane)
    width = 0
    # A disk is narrowest far from its centre, so widening line by line takes as many steps as the disk has widths.
    for distance in range(len(widths) - 1, -1, -1):
        while width < widths[distance]:
            # A step may be so wide that the three copies just meet.
            step = min(widths[distance] - width, 2 * width + 1, 63)
            _widen(wide, wider, stride, step)
            wide, wider = wider, wide
            width += step
        offset = distance * stride
        if offset < len(plane):
            _merge(grown[offset:], wide[: len(plane) - offset])
            _merge(grown[: len(plane) - offset], wide[offset:])
    return grown


@compiled
def _widen(plane, out, stride, step):
    """Writes to `out` a plane merged with itself moved by `step` < 64 pixels, either way."""
    up, down = np.uint64(step), np.uint64(64 - step)
    before, here, after, target = plane[:-2], plane[1:-1], plane[2:], out[1:-1]
    for i in range(len(target)):
        target[i] = here[i] | (here[i] << up) | (before[i] >> down) | (here[i] >> up) | (after[i] << down)
    for gap in range(0, len(out), stride):
        out[gap] = 0


@compiled
def _merge(target, plane):
    for i in range(len(target)):
        target[i] |= plane[i]
