"""What two packed masks share: bits of both in, pixels counted out, from which J and F follow.

The masks are strings of bits as `thinkseg.ops.bitmasks` packs them, `lines` of `length` pixels. A pixel is on the
contour
if it differs from the next one in its line, from the one below in the next line, or from the one after that. At the
end of a line only the one below is asked, in the last line only the next one, and the very last pixel is never contour;
which is as if the mask's last line and the last pixel of each line were there twice. Nothing changes if lines are
columns.

For the contours, masks are laid out in planes: words of 64 pixels, line by line, with a word of zeros between lines, so
that what is shifted out of a line comes to nothing and a whole plane can be shifted at once. A plane begins with such a
word, and has `stride` words from one line to the next.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.bitmasks import numba_cached

_ONE = np.uint64(1)


@numba_cached
def count_pixels(ours, true, length, lines, widths):
    """Pixels in both masks, in either; on our contour, on the true one; of ours near the true one, of that near ours.

    widths: int64 (r + 1,), how far a disk of radius r reaches sideways in the line d lines from its centre.
    """
    both, either = count_overlap(ours, true)
    if either == 0:
        return 0, 0, 0, 0, 0, 0
    top, bottom = _lines_near(ours, true, length, lines)
    our_plane, true_plane = _contour(ours, length, lines, top, bottom), _contour(true, length, lines, top, bottom)
    on_ours, on_true = _shared(our_plane, our_plane), _shared(true_plane, true_plane)
    if on_ours == 0 or on_true == 0:
        return both, either, on_ours, on_true, 0, 0
    stride = (length + 63) // 64 + 1
    left, right = _words_used(our_plane | true_plane, stride)
    our_plane, true_plane = _cropped(our_plane, stride, left, right), _cropped(true_plane, stride, left, right)
    stride = right - left + 1
    ours_near = _shared(our_plane, _grown(true_plane, stride, widths))
    true_near = _shared(true_plane, _grown(our_plane, stride, widths))
    return both, either, on_ours, on_true, ours_near, true_near


@numba_cached
def count_overlap(ours, true):
    """Pixels in both masks, and in either."""
    both = either = 0
    for i in range(len(ours)):
        both += _count(ours[i] & true[i])
        either += _count(ours[i] | true[i])
    return both, either


@numba_cached
def _shared(plane, other):
    """Pixels in both planes."""
    total = 0
    for i in range(len(plane)):
        total += _count(plane[i] & other[i])
    return total


@numba_cached
def _count(word):
    """Ones in a word. LLVM knows this way of counting and has an instruction for it."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba_cached
def _lines_near(ours, true, length, lines):
    """First line, and the one after the last, that may hold contour, which begins a line before its mask."""
    first, last = 0, len(ours) - 1
    while ours[first] | true[first] == 0:
        first += 1
    while ours[last] | true[last] == 0:
        last -= 1
    return max(first * 64 // length - 1, 0), min((last * 64 + 63) // length + 1, lines)


@numba_cached
def _contour(bits, length, lines, top, bottom):
    """The plane of a mask's contour in some of its lines."""
    words = (length + 63) // 64
    stride = words + 1
    mask = _plane(bits, length, lines, top, bottom)
    size = 1 + (bottom - top) * stride
    contour = np.empty(size, np.uint64)
    # Cut to one size, so that the compiler sees loops without bounds to check.
    here, east = mask[:size], mask[1 : size + 1]
    south, beyond = mask[stride : stride + size], mask[stride + 1 : stride + 1 + size]
    for i in range(size):
        diagonal = (south[i] >> _ONE) | (beyond[i] << np.uint64(63))
        contour[i] = (
            (here[i] ^ south[i]) | (here[i] ^ diagonal) | (here[i] ^ ((here[i] >> _ONE) | (east[i] << np.uint64(63))))
        )
    ends = _ends(length)
    contour[0] = 0
    for gap in range(stride, size, stride):
        contour[gap - 1] &= ends
        contour[gap] = 0
    return contour


@numba_cached
def _plane(bits, length, lines, top, bottom):
    """The plane of a mask in some lines and the one below these; last lines and pixels are there twice, see above."""
    words = (length + 63) // 64
    stride = words + 1
    plane = np.zeros(2 + (bottom + 1 - top) * stride, np.uint64)
    ends = _ends(length)
    for line in range(top, bottom + 1):
        start = min(line, lines - 1) * length
        begin = 1 + (line - top) * stride
        shift, word = np.uint64(start & 63), start >> 6
        low, high, row = bits[word : word + words], bits[word + 1 : word + 1 + words], plane[begin : begin + words]
        for k in range(words):
            # Two steps, because a shift by 64 is undefined.
            row[k] = (low[k] >> shift) | ((high[k] << _ONE) << (np.uint64(63) - shift))
        row[words - 1] &= ends
        last = start + length - 1
        twice = (bits[last >> 6] >> np.uint64(last & 63)) & _ONE
        plane[begin + (length >> 6)] |= twice << np.uint64(length & 63)
    return plane


@numba_cached
def _ends(length):
    """The pixels of a line's last word that are in the line."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(-length & 63)


@numba_cached
def _words_used(plane, stride):
    """First word of lines, and the one after the last, in which there is anything."""
    used = np.zeros(stride, np.uint64)
    for begin in range(1, len(plane), stride):
        _merge(used, plane[begin : begin + stride])
    left, right = 0, stride
    while used[left] == 0:
        left += 1
    while used[right - 1] == 0:
        right -= 1
    return left, right


@numba_cached
def _cropped(plane, stride, left, right):
    """The plane of some words of each line."""
    words = right - left
    cropped = np.zeros(1 + len(plane) // stride * (words + 1), np.uint64)
    begin = 1
    for line in range(1, len(plane), stride):
        for k in range(words):
            cropped[begin + k] = plane[line + left + k]
        begin += words + 1
    return cropped


@numba_cached
def _grown(plane, stride, widths):
    """A plane with a disk around each of its pixels. The words between lines are not kept clean."""
    grown = np.zeros_like(plane)
    wide, wider = plane.copy(), np.zeros_like(plane)
    width = 0
    # A disk is narrowest far from its centre. Line by line towards it, what is there is widened as much as needed.
    for distance in range(len(widths) - 1, -1, -1):
        while width < widths[distance]:
            # The copies moved either way must not leave a gap to the one between them.
            step = min(widths[distance] - width, 2 * width + 1, 63)
            _widen(wide, wider, stride, step)
            wide, wider = wider, wide
            width += step
        offset = distance * stride
        if offset < len(plane):
            _merge(grown[offset:], wide[: len(plane) - offset])
            _merge(grown[: len(plane) - offset], wide[offset:])
    return grown


@numba_cached
def _widen(plane, out, stride, step):
    """Writes to `out` a plane merged with itself moved by `step` < 64 pixels, either way."""
    up, down = np.uint64(step), np.uint64(64 - step)
    before, here, after, target = plane[:-2], plane[1:-1], plane[2:], out[1:-1]
    for i in range(len(target)):
        target[i] = here[i] | (here[i] << up) | (before[i] >> down) | (here[i] >> up) | (after[i] << down)
    for gap in range(stride, len(out), stride):
        out[gap] = 0


@numba_cached
def _merge(target, plane):
    for i in range(len(target)):
        target[i] |= plane[i]
