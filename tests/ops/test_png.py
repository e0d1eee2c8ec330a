"""Plain grey pictures against OpenCV, however they were filtered; everything else is left alone."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from thinkseg.ops.png import read_grey

PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)))
BLOB = np.zeros((20, 30), np.uint8)
BLOB[4:12, 5:20] = 255


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size_wh, lines, *between, form=(8, 0, 0, 0, 0)):
    head = struct.pack(">II5B", *size_wh, *form)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(between) + lines + chunk(b"IEND", b"")


def written(picture, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", **options)
    return file.getvalue()


@given(PICTURES, st.data())
def test_every_filter_is_undone_as_opencv_undoes_it(picture, data):
    """The bytes of a picture read as lines that were filtered in ways drawn at random."""
    height, width = picture.shape
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    lines = b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(kinds, picture, strict=True))
    whole = zlib.compress(lines)
    cut = len(whole) // 2
    file = png((width, height), chunk(b"IDAT", whole[:cut]) + chunk(b"IDAT", whole[cut:]))
    expected = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_grey(file, (width, height)), expected)


@given(PICTURES)
def test_what_others_write_is_read(picture):
    size_wh = picture.shape[::-1]
    for file in (written(picture), cv2.imencode(".png", picture)[1].tobytes()):
        np.testing.assert_array_equal(read_grey(file, size_wh), picture)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"no picture",
        written(BLOB)[:-1],
        written(BLOB)[:60],
        written(BLOB).replace(b"IDAT", b"IDaT"),
        written(BLOB[:-1]),
        written(np.dstack([BLOB] * 3)),
        written(BLOB, dpi=(72, 72)),
        cv2.imencode(".png", BLOB.astype(np.uint16))[1].tobytes(),
        png((30, 20), chunk(b"IDAT", zlib.compress(bytes(31 * 20))), form=(8, 0, 0, 0, 1)),
        png((30, 20), chunk(b"IDAT", zlib.compress(bytes(31 * 19)))),
        png((30, 20), chunk(b"IDAT", zlib.compress(bytes(31 * 21)))),
        png((30, 20), chunk(b"IDAT", zlib.compress(bytes(31 * 20))[:-2])),
        png((30, 20), chunk(b"IDAT", zlib.compress(b"\x05" * 31 * 20))),
        png((30, 20), chunk(b"IDAT", b"junk")),
    ],
)
def test_other_files_are_left_to_others(file):
    assert read_grey(written(BLOB), (30, 20)) is not None
    assert read_grey(file, (30, 20)) is None
