from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thinkseg.errors import SettingsError
from thinkseg.ops.masks import from_stacks
from thinkseg.report.formats.images import davis_palette, label_map


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def test_merged_has_the_union_of_all_objects(write, result, masks):
    folder = write(result, "masks")
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    for number in range(3):
        assert (pixels(folder / f"{number:05d}.png") == 255 * masks[:, number].any(axis=0)).all()


def test_by_object_has_a_folder_per_object(write, result, masks):
    folder = write(result, "objects")
    for obj in range(2):
        for number in range(3):
            assert (pixels(folder / str(obj + 1) / f"{number:05d}.png") == 255 * masks[obj, number]).all()


def test_label_maps_have_numbers_of_objects_and_colors_of_davis(write, result, masks):
    with Image.open(write(result, "labels") / "00000.png") as image:
        assert (image.mode, image.getpalette()[:12]) == ("P", [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
        assert (np.array(image) == masks[0, 0] + 2 * masks[1, 0]).all()


def test_label_map_smaller_object_is_on_top():
    large, small = np.zeros((2, 4, 4), bool)
    large[:3], small[1:, 1] = True, True
    assert label_map(np.array([small, large])).tolist() == [[2, 2, 2, 2], [2, 1, 2, 2], [2, 1, 2, 2], [0, 1, 0, 0]]


def test_label_maps_too_many_objects_raise(write, result):
    many = replace(result, masklets=from_stacks(np.ones((256, 3, 4, 4), bool)))
    with pytest.raises(SettingsError, match="labels: 256 objects; a label map has at most 255"):
        write(many, "labels")


def test_davis_palette_has_256_distinct_colors():
    colors = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)
    assert len(np.unique(colors, axis=0)) == 256
    assert colors[[15, 255]].tolist() == [[192, 128, 128], [224, 224, 192]]


@pytest.mark.parametrize(("name", "expected"), [("masks", 3), ("labels", 3), ("objects", 0)])
def test_write_no_target_has_empty_masks(write, absent, name, expected):
    files = list(write(absent, name).iterdir())
    assert len(files) == expected
    assert not any(pixels(path).any() for path in files)
