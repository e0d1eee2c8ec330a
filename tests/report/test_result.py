"""A result in Python: arrays, pictures, files, other packages and notebooks."""

import base64
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.video import open_video
from thinkseg.report.result import Result
from thinkseg.types import Answer, Outcome, Segmentation, VideoSample


@pytest.fixture
def masks():
    """Two objects in four frames of 128x96: one that is always visible, one in frame 2 alone."""
    stack = np.zeros((2, 4, 96, 128), bool)
    stack[0, :, 30:70, 10:50], stack[1, 2, 40:60, 80:100] = True, True
    return stack


@pytest.fixture
def result(film, masks):
    boxes = np.array([[10, 30, 50, 70], [80, 40, 100, 60]], np.float32)
    outcome = Outcome(Answer("Left & right.", 2, boxes), None, (), keyframe=2, seconds={"policy": 1.25})
    sample = VideoSample("film.mp4", film(4, (128, 96)), "both <of> them")
    return Result.of(Segmentation(sample, outcome, from_stacks(masks), tracker_seconds=0.5))


@pytest.fixture
def failed(result):
    return replace(result, outcome=Outcome(None, "invalid_json", ()), masklets=empty((128, 96), 4))


def test_result_is_indexed_by_frames(result, masks):
    assert len(result) == 4
    assert (result.masks == masks).all()
    assert (result[2] == masks[:, 2]).all()
    assert (result[-1] == masks[:, 3]).all()
    assert (np.array(list(result)) == masks.swapaxes(0, 1)).all()
    with pytest.raises(IndexError, match="frame 4 is not in the video; give an index from 0 to 3"):
        result[4]


def test_result_is_true_and_without_masks_for_no_target(failed):
    assert failed.masks.shape == (0, 4, 96, 128)
    assert bool(failed)


def test_result_repr_has_three_lines(result, failed):
    assert repr(result).splitlines() == [
        "Result('film.mp4', 'both <of> them')",
        "  keyframe 2 (0.20 s); object 1 in 4, object 2 in 1 of 4 frames",
        "  4 frames of 128x96; policy 1.2 s, tracker 0.5 s",
    ]
    assert repr(failed).splitlines()[1].startswith("  invalid reply: ")
    absent = replace(failed, outcome=Outcome(Answer("", None, np.zeros((0, 4), np.float32)), None, ()))
    assert repr(absent).splitlines()[1] == "  no such object"


def test_result_repr_html_is_text_and_a_film_strip(result, failed):
    html = result._repr_html_()
    assert "both &lt;of&gt; them" in html
    data = html.partition("base64,")[2].partition('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.width > image.height > 200
    assert "invalid reply" in failed._repr_html_()


def test_result_overlay_is_a_frame_of_the_overlay_file(result, tmp_path):
    result.save(tmp_path / "out", ["overlay"])
    video = open_video(tmp_path / "out" / "overlay.mp4")
    for frame in (0, 2, 3):
        assert np.abs(result.overlay(frame).astype(int) - video[frame]).mean() < 3
    assert (result.overlay(-1) == result.overlay(3)).all()


def test_result_save_writes_a_folder_of_results(result, failed, tmp_path):
    folder = result.save(tmp_path / "out", ["coco", "csv"], {"policy": "mine"})
    assert folder == tmp_path / "out"
    files = [".thinkseg", "answer.json", "coco.json", "masks.json", "objects.csv"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert json.loads((folder / "coco.json").read_text()) == result.to_coco()
    assert json.loads((folder / "answer.json").read_text())["settings"] == {"policy": "mine"}
    with pytest.raises(SettingsError, match="format: 'mov' is unknown"):
        result.save(tmp_path / "out", ["mov"])
    failed.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".thinkseg", "answer.json"]


def test_result_save_warns_of_videos_that_cannot_be_written(result, tmp_path, monkeypatch):
    def damaged(indices):
        raise VideoError("frame 0 cannot be decoded")
        yield

    monkeypatch.setattr(result.sample.video, "read", damaged)
    with pytest.warns(UserWarning, match=r"overlay\.mp4 is missing: frame 0 cannot be decoded"):
        result.save(tmp_path / "out")
    assert (tmp_path / "out" / "masks").is_dir()


def test_result_to_supervision_has_the_visible_objects(result, masks):
    pytest.importorskip("supervision")
    sure = np.array([[1, 1, 0.75, 1], [0, 0, 0.5, 0]], np.float32)
    found = replace(result, masklets=replace(result.masklets, confidence=sure)).to_supervision(2)
    assert found.xyxy.tolist() == [[10, 30, 50, 70], [80, 40, 100, 60]]
    assert (found.mask == masks[:, 2]).all()
    assert (found.tracker_id.tolist(), found.confidence.tolist()) == ([1, 2], [0.75, 0.5])
    first = result.to_supervision(0)
    assert (first.tracker_id.tolist(), first["class_name"].tolist()) == ([1], ["both <of> them"])
    assert first.confidence is None


def test_result_to_supervision_without_objects_is_empty(failed):
    pytest.importorskip("supervision")
    assert failed.to_supervision(0).is_empty()


def test_result_to_supervision_names_the_missing_package(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(SettingsError, match="supervision is not installed; pip install supervision"):
        result.to_supervision(0)
