"""`thinkseg convert`, of a result that `thinkseg segment` wrote."""

import json

import numpy as np
import pytest

from thinkseg.cli import app
from thinkseg.ops.video import write_video


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", [np.full((32, 48, 3), 20 * number, np.uint8) for number in range(5)], 10)
    return tmp_path / "clip.mp4"


@pytest.fixture
def result(clip, tmp_path, monkeypatch, box_tracker):
    """The folder of a box that was followed."""
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    place = tmp_path / "result"
    arguments = ["segment", str(clip), "--keyframe", "0", "--box", "4,4,20,20", "--save", "csv", "--out", str(place)]
    assert app.main(arguments) == 0
    return place


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".thinkseg")


def test_segment_save_writes_the_formats_named(result):
    assert names(result) == ["answer.json", "masks.json", "objects.csv"]


def test_convert_adds_files_to_the_result(result, clip, capsys):
    assert app.main(["convert", str(result), "--to", "coco, overlay"]) == 0
    assert capsys.readouterr().out.endswith(f"wrote {result}\n")
    assert names(result) == ["answer.json", "coco.json", "masks.json", "objects.csv", "overlay.mp4"]
    assert len(json.loads((result / "coco.json").read_text())["annotations"]) == 5
    assert app.main(["segment", str(clip), "--keyframe", "0", "--box", "4,4,20,20", "--out", str(result)]) == 0
    assert names(result) == ["answer.json", "masks", "masks.json", "overlay.mp4"]


def test_convert_writes_a_folder_of_its_own(result, tmp_path):
    assert app.main(["convert", str(result), "--to", "labels,cvat", "--out", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["cvat.xml", "labels"]
    assert names(result) == ["answer.json", "masks.json", "objects.csv"]


def test_convert_finds_a_video_that_was_moved(result, clip, tmp_path, capsys):
    moved = clip.rename(tmp_path / "moved.mp4")
    assert app.main(["convert", str(result), "--to", "cutout"]) == 2
    assert "give --video" in capsys.readouterr().err
    assert names(result) == ["answer.json", "masks.json", "objects.csv"]
    assert app.main(["convert", str(result), "--to", "cutout", "--video", str(moved)]) == 0
    assert "cutout.webm" in names(result)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--to", "mov"], "--to: 'mov' is unknown; give some of masks, objects, labels"),
        (["--to", ""], "--to: '' is unknown"),
        ([], "--to: is missing"),
    ],
)
def test_convert_unknown_format_is_status_2(result, arguments, complaint, capsys):
    assert app.main(["convert", str(result), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_segment_unknown_format_is_status_2_before_a_model_is_loaded(clip, tmp_path, capsys):
    assert app.main(["segment", str(clip), "it", "--save", "masks,mp3", "--out", str(tmp_path / "out")]) == 2
    assert "--save: 'mp3' is unknown; give some of masks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
