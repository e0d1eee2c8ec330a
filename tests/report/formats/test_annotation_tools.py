import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools import mask as coco_mask


def filled(points):
    """The mask of a polygon, bool (4, 4)."""
    polygon = [float(side) for point in points.split(";") for side in point.split(",")]
    return coco_mask.decode(coco_mask.frPyObjects([polygon], 4, 4))[..., 0].astype(bool)


def test_write_cvat_has_a_track_per_object_with_outside_flags(write, result, masks, monkeypatch):
    monkeypatch.setattr("thinkseg.report.formats.annotation_tools.TOLERANCE", 0.0)
    root = ElementTree.parse(write(result, "cvat")).getroot()
    assert (root.findtext("version"), root.findtext("meta/task/size")) == ("1.1", "3")
    assert root.findtext("meta/task/labels/label/name") == "both & <more>"
    square, other = root.findall("track")
    assert (square.get("id"), square.get("label")) == ("0", "both & <more>")
    assert [(one.get("frame"), one.get("outside")) for one in square] == [("0", "0"), ("1", "1"), ("2", "0")]
    assert {one.get("keyframe") for one in (*square, *other)} == {"1"}
    assert (np.array([filled(one.get("points")) for one in other]) == masks[1]).all()


def test_write_labelstudio_boxes_end_where_objects_disappear(write, result):
    (task,) = json.loads(write(result, "labelstudio").read_text())
    assert task["data"] == {"video": "film.mp4"}
    square, other = task["predictions"][0]["result"]
    assert (square["type"], square["value"]["framesCount"], square["value"]["labels"]) == (
        *("videorectangle", 3),
        ["both & <more>"],
    )
    frames = [(box["frame"], box["enabled"], box["x"], box["width"]) for box in square["value"]["sequence"]]
    assert frames == [(1, False, 25, 50), (3, True, 25, 50)]
    assert [box["time"] for box in other["value"]["sequence"]] == [0, 0.1, 0.2]


def test_label_studio_shows_objects_in_the_frames_of_their_masks(write, result):
    video = pytest.importorskip("label_studio_sdk._extensions.label_studio_tools.postprocessing.video")
    (task,) = json.loads(write(result, "labelstudio").read_text())
    square, other = video.extract_key_frames(task["predictions"][0]["result"])
    assert [box["frame"] for box in square["value"]["sequence"]] == [1, 3]
    assert [box["frame"] for box in other["value"]["sequence"]] == [1, 2, 3]
    assert [box["height"] for box in other["value"]["sequence"]] == [25, 100, 100]


def test_label_studio_accepts_the_task_in_the_interface_of_the_docs(write, result):
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
    (config,) = re.findall("```xml\n(.*?)```", page, re.DOTALL)
    labels = interface.LabelInterface(config.replace("the one that gets hit", "both &amp; &lt;more&gt;"))
    (task,) = json.loads(write(result, "labelstudio").read_text())
    assert labels.validate_task({"data": task["data"]})
    assert labels.validate_prediction(task["predictions"][0], return_errors=True) == []


def test_datumaro_reads_cvat_as_tracks(write, result):
    base = pytest.importorskip("datumaro.plugins.data_formats.cvat.base")
    items = sorted(base.CvatBase(str(write(result, "cvat"))), key=lambda item: item.attributes["frame"])
    shown = [
        (item.attributes["frame"], shape.attributes["track_id"], shape.get_area())
        for item in items
        for shape in item.annotations
        if not shape.attributes["outside"]
    ]
    assert [(frame, track) for frame, track, _ in shown] == [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]
    assert shown[0][2] == 4
