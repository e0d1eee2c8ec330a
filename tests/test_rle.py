"""RLEs against pycocotools, manual masks and invalid input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from thinkseg import rle as codec

ANY_MASK = arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))

CORNER = np.array(
    [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ],
    bool,
)


@given(ANY_MASK)
def test_encode_equals_pycocotools_and_decodes(mask):
    rle = codec.encode(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    assert np.array_equal(codec.decode(rle), mask)
    assert codec.rle_area(rle) == mask.sum()
    assert codec.checked(rle, mask.shape[::-1]) == rle


@given(ANY_MASK)
def test_from_runs_any_mask_is_compressed(mask):
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    runs = np.diff([0, *ends, flat.size]).tolist()
    assert codec.from_runs(list(mask.shape), runs) == codec.encode(mask)


@pytest.mark.parametrize("runs", [[15], [17], [-1, 17], [1.0, 15], [True, 15], ["16"], []])
def test_from_runs_invalid_runs_raise(runs):
    with pytest.raises(ValueError, match="do not fill a mask of 16 pixels"):
        codec.from_runs([4, 4], runs)


def test_encode_small_mask_has_known_runs():
    # Down the columns: no 0 first, two 1s, two 0s, one 1, ten 0s (three below, a column, three above), one 1.
    theirs = coco.frPyObjects({"size": [4, 4], "counts": [0, 2, 2, 1, 10, 1]}, 4, 4)
    assert codec.encode(CORNER)["counts"] == theirs["counts"].decode()
    assert codec.rle_area(codec.encode(CORNER)) == 4


def test_decode_returns_c_order_bool():
    mask = codec.decode(codec.encode(CORNER))
    assert mask.dtype == np.bool_
    assert mask.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (480, 854)])
@pytest.mark.parametrize("value", [False, True])
def test_encode_empty_and_full_masks(shape, value):
    mask = np.full(shape, value)
    rle = codec.encode(mask)
    assert codec.rle_area(rle) == (mask.size if value else 0)
    assert np.array_equal(codec.decode(rle), mask)


def test_encode_nonzero_is_inside():
    grey = np.array([[0, 1, 255], [7, 0, 0]], np.uint8)
    assert codec.encode(grey) == codec.encode(grey > 0)


def test_encode_any_memory_order():
    assert codec.encode(np.asfortranarray(CORNER)) == codec.encode(CORNER)
    assert codec.encode(np.repeat(CORNER, 2, axis=1)[:, ::2]) == codec.encode(CORNER)


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.float32), np.zeros((1, 2, 2), bool), np.zeros((0, 4), bool)])
def test_encode_invalid_mask_raises(mask):
    with pytest.raises(ValueError, match="a mask must be bool or uint8"):
        codec.encode(mask)


def test_checked_converts_bytes_to_str():
    rle = coco.encode(np.asfortranarray(CORNER.astype(np.uint8)))
    assert isinstance(rle["counts"], bytes)
    assert codec.checked(rle) == codec.encode(CORNER)


def test_checked_other_size_raises():
    wide = codec.encode(np.zeros((4, 6), bool))
    with pytest.raises(ValueError, match="6x4, not 4x6"):
        codec.checked(wide, (4, 6))


GOOD = codec.encode(CORNER)["counts"]


@pytest.mark.parametrize(
    ("rle", "complaint"),
    [
        (None, "needs a 'size'"),
        ([], "needs a 'size'"),
        ("counts", "needs a 'size'"),
        ({"counts": GOOD}, "needs a 'size'"),
        ({"size": [4], "counts": GOOD}, "needs a 'size'"),
        ({"size": [4, 4, 1], "counts": GOOD}, "needs a 'size'"),
        ({"size": "44", "counts": GOOD}, "needs a 'size'"),
        ({"size": [4, 4.5], "counts": GOOD}, "needs a 'size'"),
        ({"size": [0, 4], "counts": GOOD}, "invalid size"),
        ({"size": [-4, -4], "counts": GOOD}, "invalid size"),
        ({"size": [10**6, 10**6], "counts": GOOD}, "invalid size"),
        ({"size": [4, 4]}, "compressed string, not NoneType"),
        ({"size": [4, 4], "counts": [0, 16]}, "compressed string, not list"),
        ({"size": [4, 4], "counts": ""}, "empty, truncated"),
        ({"size": [4, 4], "counts": GOOD + " "}, "characters outside"),
        ({"size": [4, 4], "counts": GOOD + "é"}, "characters outside"),
        ({"size": [4, 4], "counts": GOOD + "o"}, "truncated"),
        ({"size": [4, 4], "counts": "o" * 100 + "0"}, "more than 35 bits"),
        ({"size": [4, 5], "counts": GOOD}, "do not fill"),
        ({"size": [4, 3], "counts": GOOD}, "do not fill"),
        ({"size": [4, 4], "counts": "O"}, "do not fill"),
        ({"size": [4, 4], "counts": "ooooooO" * 1000}, "do not fill"),
    ],
)
def test_checked_invalid_rle_raises(rle, complaint):
    with pytest.raises(ValueError, match=complaint):
        codec.checked(rle)


@given(st.text(max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_decode_any_string_is_mask_or_value_error(counts, height, width):
    rle = {"size": [height, width], "counts": counts}
    try:
        mask = codec.decode(rle)
    except ValueError:
        return
    assert mask.shape == (height, width)
    assert mask.sum() == codec.rle_area(rle)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_decode_runs_of_any_length_equals_pycocotools(runs):
    if sum(runs) == 0:
        runs = [1, *runs[1:]]
    rle = coco.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)
    assert np.array_equal(codec.decode(rle), coco.decode(rle).astype(bool))


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_rle_box_is_tight(mask):
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
    assert codec.rle_box(codec.encode(mask)) == box


def test_to_runs_is_the_inverse_of_from_runs():
    runs = codec.to_runs(codec.encode(np.array([[0, 1, 1], [0, 0, 1]], bool)))
    assert runs == {"size": [2, 3], "counts": [2, 1, 1, 2]}
    assert codec.from_runs(runs["size"], runs["counts"]) == codec.encode(np.array([[0, 1, 1], [0, 0, 1]], bool))
