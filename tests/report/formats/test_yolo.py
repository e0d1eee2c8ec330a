import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from thinkseg.errors import VideoError
from thinkseg.report.formats.writing import write_formats
from thinkseg.report.formats.yolo import label_lines


def filled(line):
    """The mask of a line, 4x4, as pycocotools fills polygons."""
    label, *sides = line.split()
    assert label == "0"
    return coco_mask.decode(coco_mask.frPyObjects([[4 * float(side) for side in sides]], 4, 4))[..., 0].astype(bool)


def test_label_lines_filled_polygons_are_the_masks(masks):
    square, _ = masks[:, 2]
    lines = label_lines(masks[:, 2]).splitlines()
    assert lines[0] == "0 0.25 0.25 0.25 0.75 0.75 0.75 0.75 0.25"
    assert (filled(lines[0]) == square).all()
    assert len(lines) == 2


def test_label_lines_without_a_visible_object_are_empty():
    assert label_lines(np.zeros((2, 4, 4), bool)) == ""


def test_write_yolo_has_an_image_and_a_label_file_per_frame(write, result):
    folder = write(result, "yolo")
    names = ["00000", "00001", "00002"]
    assert sorted(path.name for path in (folder / "images").iterdir()) == [f"{name}.jpg" for name in names]
    assert Image.open(folder / "images" / "00001.jpg").size == (4, 4)
    lines = [len((folder / "labels" / f"{name}.txt").read_text().splitlines()) for name in names]
    assert lines == [2, 1, 2]
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data == {"train": "images", "val": "images", "names": {0: "both & <more>"}}


def test_write_yolo_damaged_frame_leaves_nothing(result, tmp_path, monkeypatch):
    def damaged(indices):
        yield np.zeros((4, 4, 3), np.uint8)
        raise VideoError("frame 1 cannot be decoded")

    monkeypatch.setattr(result.sample.video, "read", damaged)
    assert set(write_formats(result, tmp_path, ["yolo"])) == {"yolo"}
    assert list(tmp_path.iterdir()) == []


def test_supervision_reads_yolo(write, result, masks):
    supervision = pytest.importorskip("supervision")
    folder = write(result, "yolo")
    paths = folder / "images", folder / "labels", folder / "data.yaml"
    data = supervision.DetectionDataset.from_yolo(*map(str, paths), force_masks=True)
    assert data.classes == ["both & <more>"]
    assert [len(found) for _, _, found in data] == [2, 1, 2]
