"""All formats of a part of a video: frames 2, 5 and 8 of 12, shown 10 per second, in half the size of 8x8."""

import csv
import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from thinkseg.data.readers.video_window import Window
from thinkseg.ops.video import open_video, write_video
from thinkseg.report.formats import FORMATS
from thinkseg.report.formats.writing import write_formats
from thinkseg.report.result_files import format_result, write_result
from thinkseg.report.stored_result import read_result

NAMES = ["00002", "00005", "00008"]


@pytest.fixture
def part(result, tmp_path):
    """The result about a part of a video file."""
    write_video(tmp_path / "clip.mp4", [np.full((8, 8, 3), 20 * number, np.uint8) for number in range(12)], 10)
    video = Window(start=2, end=0.9, stride=3, max_side=4).of(open_video(tmp_path / "clip.mp4"))
    answer = replace(result.answer, keyframe=1)
    return replace(
        result,
        sample=replace(result.sample, id="clip.mp4", video=video),
        outcome=replace(result.outcome, answer=answer),
    )


@pytest.mark.parametrize("name", ["masks", "objects/1", "labels", "yolo/labels"])
def test_window_files_have_the_index_in_the_source(part, write, name, tmp_path):
    write(part, name.partition("/")[0])
    assert [path.stem for path in sorted((tmp_path / name).iterdir())] == NAMES


def test_window_tables_and_lists_have_the_index_and_time_of_the_source(part, write):
    with write(part, "csv").open() as file:
        rows = [(row["frame"], row["time"], row["object"]) for row in csv.DictReader(file)]
    assert rows == [
        *(("2", "0.200000", "1"), ("2", "0.200000", "2"), ("5", "0.500000", "2")),
        *(("8", "0.800000", "1"), ("8", "0.800000", "2")),
    ]
    images = json.loads(write(part, "coco").read_text())["images"]
    assert [(one["id"], one["frame"], one["file_name"]) for one in images] == [
        *((1, 2, "00002.jpg"), (2, 5, "00005.jpg"), (3, 8, "00008.jpg"))
    ]
    arrays = np.load(write(part, "npz"))
    assert (arrays["frames"].tolist(), arrays["times"].round(6).tolist(), arrays["keyframe"]) == (
        *([2, 5, 8], [0.2, 0.5, 0.8]),
        1,
    )


def test_window_cvat_tracks_fit_the_source_and_end_with_the_window(part, write):
    root = ElementTree.parse(write(part, "cvat")).getroot()
    assert root.findtext("meta/task/size") == "12"
    assert root.findtext("meta/task/original_size/width") == "8"
    square, other = root.findall("track")
    frames = [[(one.get("frame"), one.get("outside")) for one in track] for track in (square, other)]
    assert frames == [
        [("2", "0"), ("5", "1"), ("8", "0"), ("9", "1")],
        [("2", "0"), ("5", "0"), ("8", "0"), ("9", "1")],
    ]
    sides = [float(side) for point in square[0].get("points").split(";") for side in point.split(",")]
    assert (min(sides), max(sides)) == (2, 6)


def test_window_labelstudio_boxes_end_with_the_window(part, write):
    (task,) = json.loads(write(part, "labelstudio").read_text())
    _, other = task["predictions"][0]["result"]
    assert (other["value"]["framesCount"], other["value"]["duration"]) == (12, pytest.approx(1.2))
    frames = [(box["frame"], round(box["time"], 6), box["enabled"]) for box in other["value"]["sequence"]]
    assert frames == [(3, 0.2, True), (6, 0.5, True), (9, 0.8, False)]


def test_window_videos_play_at_the_speed_of_the_source(part, write):
    for name in ("overlay", "cutout"):
        video = open_video(write(part, name))
        times = [video.time_of(index) for index in range(len(video))]
        assert times == pytest.approx([0, 0.3, 0.6], abs=1e-3)
        assert video.size_wh == (4, 4)


def test_window_result_states_it_and_is_read_back(part, tmp_path):
    write_result(part, tmp_path / "out", {}, formats=FORMATS)
    record = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert record["video"]["window"] == {
        "start": 2,
        "end": 9,
        "stride": 3,
        "source_frames": 12,
        "source_size": [8, 8],
    }
    assert record["keyframe"] == {"index": 5, "seconds": pytest.approx(0.5)}
    assert record["objects"][0]["lost"] == {"index": 5, "seconds": pytest.approx(0.5)}
    assert json.loads((tmp_path / "out" / "masks.json").read_text())["frames"] == [2, 5, 8]
    assert "keyframe 5 (0.50 s)" in format_result(part)
    read = read_result(tmp_path / "out")
    assert (read.answer.keyframe, read.sample.video[1].shape, int(read.sample.video[1].mean())) == (1, (4, 4, 3), 100)
    (tmp_path / "again").mkdir()
    assert write_formats(read, tmp_path / "again", FORMATS) == {}
    for path in (path for path in (tmp_path / "again").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "again")).read_bytes(), path
