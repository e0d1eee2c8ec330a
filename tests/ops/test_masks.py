"""Run lengths against pycocotools, against hand-written masks, and against junk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from thinkseg.ops import masks

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
def test_same_bytes_as_pycocotools_and_back(mask):
    rle = masks.encode(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    assert np.array_equal(masks.decode(rle), mask)
    assert masks.rle_area(rle) == mask.sum()
    assert masks.checked(rle, mask.shape[::-1]) == rle


def test_known_runs_of_a_small_mask():
    # Down the columns: no 0 first, two 1s, two 0s, one 1, ten 0s (three below, a column, three above), one 1.
    theirs = coco.frPyObjects({"size": [4, 4], "counts": [0, 2, 2, 1, 10, 1]}, 4, 4)
    assert masks.encode(CORNER)["counts"] == theirs["counts"].decode()
    assert masks.rle_area(masks.encode(CORNER)) == 4


def test_decoded_mask_is_an_ordinary_bool_array():
    mask = masks.decode(masks.encode(CORNER))
    assert mask.dtype == np.bool_
    assert mask.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (480, 854)])
@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks(shape, value):
    mask = np.full(shape, value)
    rle = masks.encode(mask)
    assert masks.rle_area(rle) == (mask.size if value else 0)
    assert np.array_equal(masks.decode(rle), mask)


def test_every_value_but_zero_is_inside():
    grey = np.array([[0, 1, 255], [7, 0, 0]], np.uint8)
    assert masks.encode(grey) == masks.encode(grey > 0)


def test_memory_order_does_not_matter():
    assert masks.encode(np.asfortranarray(CORNER)) == masks.encode(CORNER)
    assert masks.encode(np.repeat(CORNER, 2, axis=1)[:, ::2]) == masks.encode(CORNER)


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.float32), np.zeros((1, 2, 2), bool), np.zeros((0, 4), bool)])
def test_encode_refuses_what_is_no_mask(mask):
    with pytest.raises(ValueError, match="a mask must be bool or uint8"):
        masks.encode(mask)


def test_counts_in_bytes_become_str():
    rle = coco.encode(np.asfortranarray(CORNER.astype(np.uint8)))
    assert isinstance(rle["counts"], bytes)
    assert masks.checked(rle) == masks.encode(CORNER)


def test_size_must_be_the_expected_one():
    wide = masks.encode(np.zeros((4, 6), bool))
    with pytest.raises(ValueError, match="6x4 where 4x6 is expected"):
        masks.checked(wide, (4, 6))


GOOD = masks.encode(CORNER)["counts"]


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
        ({"size": [0, 4], "counts": GOOD}, "impossible size"),
        ({"size": [-4, -4], "counts": GOOD}, "impossible size"),
        ({"size": [10**6, 10**6], "counts": GOOD}, "impossible size"),
        ({"size": [4, 4]}, "compressed string, not NoneType"),
        ({"size": [4, 4], "counts": [0, 16]}, "compressed string, not list"),
        ({"size": [4, 4], "counts": ""}, "empty, cut short"),
        ({"size": [4, 4], "counts": GOOD + " "}, "characters outside"),
        ({"size": [4, 4], "counts": GOOD + "é"}, "characters outside"),
        ({"size": [4, 4], "counts": GOOD + "o"}, "cut short"),
        ({"size": [4, 4], "counts": "o" * 100 + "0"}, "absurdly large"),
        ({"size": [4, 5], "counts": GOOD}, "do not fill"),
        ({"size": [4, 3], "counts": GOOD}, "do not fill"),
        ({"size": [4, 4], "counts": "O"}, "do not fill"),
        ({"size": [4, 4], "counts": "ooooooO" * 1000}, "do not fill"),
    ],
)
def test_foreign_junk_is_refused_by_name(rle, complaint):
    with pytest.raises(ValueError, match=complaint):
        masks.checked(rle)


@given(st.text(max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_any_string_is_a_mask_or_a_value_error(counts, height, width):
    rle = {"size": [height, width], "counts": counts}
    try:
        mask = masks.decode(rle)
    except ValueError:
        return
    assert mask.shape == (height, width)
    assert mask.sum() == masks.rle_area(rle)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_runs_of_any_length_decode_like_pycocotools(runs):
    if sum(runs) == 0:
        runs = [1, *runs[1:]]
    rle = coco.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)
    assert np.array_equal(masks.decode(rle), coco.decode(rle).astype(bool))


def test_stacks_become_masklets():
    stack = np.zeros((2, 3, 4, 6), bool)
    stack[0, 0, 1, 2:5] = True
    stack[1, :, 0, 0] = True
    masklets = masks.from_stacks(stack)
    assert masklets.size_wh == (6, 4)
    assert masklets.num_frames == 3
    assert [[rle is not None for rle in track] for track in masklets.rles] == [[True, False, False], [True] * 3]
    for obj in range(2):
        for frame in range(3):
            assert np.array_equal(masklets.mask(frame, obj), stack[obj, frame])
    assert masklets.boxes(0).tolist() == [[2, 1, 5, 2], [0, 0, 1, 1]]


def test_stacks_need_four_axes():
    with pytest.raises(ValueError, match=r"\(objects, frames, height, width\)"):
        masks.from_stacks(np.zeros((3, 4, 6), bool))


def test_empty_masklets_have_no_objects():
    masklets = masks.empty((6, 4), 3)
    assert masklets.num_objects == 0
    assert masklets.union(2).shape == (4, 6)
    assert masklets.area(0) == 0
