import json

import numpy as np
import pytest
from pycocotools import mask as coco

from thinkseg.ops import masks


def test_from_stacks_empty_mask_is_none():
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


def test_from_stacks_three_axes_raise():
    with pytest.raises(ValueError, match=r"\(objects, frames, height, width\)"):
        masks.from_stacks(np.zeros((3, 4, 6), bool))


def test_empty_has_no_objects():
    masklets = masks.empty((6, 4), 3)
    assert masklets.num_objects == 0
    assert masklets.union(2).shape == (4, 6)
    assert masklets.area(0) == 0


@pytest.mark.parametrize("num_objects", [0, 1, 2])
def test_json_of_is_json_of_all_masks(num_objects):
    stack = np.zeros((num_objects, 2, 2, 3), bool)
    stack[:, 0, 1, 2] = True
    assert json.loads("".join(masks.json_of(masks.from_stacks(stack) if num_objects else masks.empty((3, 2), 2)))) == {
        "size": [2, 3],
        "frames": 2,
        "objects": [[{"size": [2, 3], "counts": "51"}, None]] * num_objects,
    }


def test_json_of_has_more_fields():
    text = "".join(masks.json_of(masks.empty((3, 2), 2), {"times": [0, 0.5]}))
    assert json.loads(text) == {"size": [2, 3], "frames": 2, "times": [0, 0.5], "objects": []}


def filled(polygon, shape):
    """The mask of a polygon, by the rules of COCO."""
    rles = coco.frPyObjects([polygon.astype(float).ravel().tolist()], *shape)
    return coco.decode(rles)[..., 0].astype(bool)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"],
        ["##..", "##..", "..##", "..##"],
        ["####", "#..#", "#.##", "####"],
        ["#.#.", ".#.#", "#.#.", "#..#"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
    ],
)
def test_outline_filled_is_the_mask(rows):
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    assert np.array_equal(filled(masks.outline(mask), mask.shape), mask)


def test_outline_of_a_square_is_its_corners():
    mask = np.zeros((6, 8), bool)
    mask[2:5, 1:4] = True
    assert sorted(map(tuple, masks.outline(mask))) == [(1, 2), (1, 5), (4, 2), (4, 5)]


def test_outline_of_an_empty_mask_has_no_points():
    assert masks.outline(np.zeros((4, 4), bool)).shape == (0, 2)


def test_outline_with_tolerance_has_fewer_points():
    ys, xs = np.mgrid[:64, :64]
    disk = (xs - 32) ** 2 + (ys - 32) ** 2 < 28**2
    exact, simple = masks.outline(disk), masks.outline(disk, 1.0)
    assert 8 < len(simple) < len(exact) / 3
    assert (filled(simple, disk.shape) != disk).sum() < 0.05 * disk.sum()
    single = np.ones((1, 1), bool)
    assert len(masks.outline(single, 5.0)) == 4
