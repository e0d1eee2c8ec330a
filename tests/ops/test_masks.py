import json

import numpy as np
import pytest

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
