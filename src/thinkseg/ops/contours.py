"""Counts the pixels that two packed masks share, for J and F.

Masks are packed by `thinkseg.ops.bitmasks`: `lines` of `length` pixels. A pixel is on the contour if it differs from
the next pixel of its line, from the pixel below, or from the pixel after that one. At the end of a line only the pixel
below counts, in the last line only the next pixel, and the last pixel of all is never contour: as if the last line and
the last pixel of each line were repeated. The result is the same if lines are columns.

For contours, masks are laid out in planes: words of 64 pixels, line by line, with a word of zeros before each line and
after the last. So pixels shifted out of a line are lost, and a plane can be shifted as a unit. A plane has `stride`
words per line.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.bitmasks import numba_cached

_ONE = np.uint64(1)


@numba_cached
def count_pixels(pred, true, length, lines, widths):
    """Returns six pixel counts of a predicted and a ground-truth mask.

    They are: pixels in both masks, pixels in either, contour pixels of the prediction, contour pixels of the ground
    truth, those of the prediction near the contour of the ground truth, and those of the ground truth near that of the
    prediction.

    widths: int64 (r + 1,), half width of a disk of radius r in the line d lines from its center.
    """
    both, either = count_overlap(pred, true)
    if either == 0:
        return 0, 0, 0, 0, 0, 0
    top, bottom = _lines_near(pred, true, length, lines)
    pred_plane, true_plane = _contour(pred, length, lines, top, bottom), _contour(true, length, lines, top, bottom)
    on_pred, on_true = _shared(pred_plane, pred_plane), _shared(true_plane, true_plane)
    if on_pred == 0 or on_true == 0:
        return both, either, on_pred, on_true, 0, 0
    stride = (length + 63) // 64 + 1
    left, right = _words_used(pred_plane | true_plane, stride)
    pred_plane, true_plane = _cropped(pred_plane, stride, left, right), _cropped(true_plane, stride, left, right)
    stride = right - left + 1
    pred_near = _shared(pred_plane, _grown(true_plane, stride, widths))
    true_near = _shared(true_plane, _grown(pred_plane, stride, widths))
    return both, either, on_pred, on_true, pred_near, true_near


@numba_cached
def count_overlap(pred, true):
    """Returns the numbers of pixels in both masks and in either."""
    both = either = 0
    for i in range(len(pred)):
        both += _count(pred[i] & true[i])
        either += _count(pred[i] | true[i])
    return both, either


@numba_cached
def _shared(plane, other):
    """Returns the number of pixels in both planes."""
    total = 0
    for i in range(len(plane)):
        total += _count(plane[i] & other[i])
    return total


@numba_cached
def _count(word):
    """Returns the number of ones in a word. LLVM compiles this pattern to one instruction."""
    word -= (word >> _ONE) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba_cached
def _lines_near(pred, true, length, lines):
    """Returns the first line that can have contour pixels and the line after the last.

    The contour begins one line before the mask.
    """
    first, last = 0, len(pred) - 1
    while pred[first] | true[first] == 0:
        first += 1
    while pred[last] | true[last] == 0:
        last -= 1
    return max(first * 64 // length - 1, 0), min((last * 64 + 63) // length + 1, lines)


@numba_cached
def _contour(bits, length, lines, top, bottom):
    """Returns the plane of a mask's contour in the lines `top` to `bottom` - 1."""
    words = (length + 63) // 64
    stride = words + 1
    mask = _plane(bits, length, lines, top, bottom)
    size = 1 + (bottom - top) * stride
    contour = np.empty(size, np.uint64)
    # Slices of equal size let the compiler drop bounds checks.
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
    """Returns the plane of a mask in the lines `top` to `bottom`, with the last line and last pixels repeated."""
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
            # Shifts in two steps, because a shift by 64 is undefined.
            row[k] = (low[k] >> shift) | ((high[k] << _ONE) << (np.uint64(63) - shift))
        row[words - 1] &= ends
        last = start + length - 1
        twice = (bits[last >> 6] >> np.uint64(last & 63)) & _ONE
        plane[begin + (length >> 6)] |= twice << np.uint64(length & 63)
    return plane


@numba_cached
def _ends(length):
    """Returns the mask of the pixels of a line's last word."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(-length & 63)


@numba_cached
def _words_used(plane, stride):
    """Returns the first word of lines that has pixels in any line, and the word after the last."""
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
    """Returns the plane of the words `left` to `right` - 1 of each line."""
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
    """Dilates a plane by a disk. The words between lines of the result can be nonzero."""
    grown = np.zeros_like(plane)
    wide, wider = plane.copy(), np.zeros_like(plane)
    width = 0
    # A disk is narrowest far from its center: line by line towards the center, the plane is widened a bit more.
    for distance in range(len(widths) - 1, -1, -1):
        while width < widths[distance]:
            # A larger step would leave a gap between the plane and its shifted copies.
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
    """Writes the union of a plane with its copies shifted by `step` < 64 pixels to both sides to `out`."""
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
