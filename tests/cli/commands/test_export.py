"""`thinkseg export`: what it writes, what it says, and what it refuses in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from thinkseg.cli import app
from thinkseg.rle import encode


@pytest.fixture
def root(tmp_path):
    """One's own data: a video of two frames with a target, without one, and with an unknown truth."""
    root = tmp_path / "mine"
    (root / "clip").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (4, 4), (90 * number,) * 3).save(root / "clip" / f"{number}.png")
    rle = encode(np.eye(4, dtype=bool))
    rows = [{"query": "it", "masks": [[rle, None]]}, {"query": "none", "masks": []}, {"query": "who knows"}]
    (root / "queries.jsonl").write_text("\n".join(json.dumps({"video": "clip", **row}) for row in rows))
    return root


def one_line(capsys):
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    return line


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_benchmark(root, tmp_path, capsys):
    out = tmp_path / "out"
    run = ["export", "llamafactory", "folder", "--root", str(root), "--out", str(out), "--frame-size", "56x56"]
    assert app.main(run) == 0
    assert capsys.readouterr().out == f"skipped, no ground truth: 1\nwrote 2 questions to {out}\n"
    first, _ = lines(out / "train.jsonl")
    assert first["images"] == ["images/clip/00000-56x56.png", "images/clip/00001-56x56.png"]
    assert first["messages"][1]["content"] == (
        '<think></think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 56, 56]]}</answer>'
    )
    # Started again, it replaces what it wrote.
    assert app.main([*run, "--limit", "1"]) == 0
    assert len(lines(out / "train.jsonl")) == 1


def test_the_model_decides_how_frames_are_shown(root, tmp_path):
    out = tmp_path / "out"
    model = ["--model", "Qwen/Qwen3-VL-8B-Instruct", "--frame-size", "60x60", "--fps", "2"]
    assert app.main(["export", "jsonl", "folder", "--root", str(root), "--out", str(out), *model]) == 0
    first = lines(out / "samples.jsonl")[0]
    assert first["images"][0] == "images/clip/00000-64x64.png"
    assert first["truth"]["coordinates"] == "normalized_1000"
    assert first["truth"]["labels"] == ["0.0", "0.5"]
    assert "[[0, 0, 1000, 1000]]" in first["messages"][1]["content"]


def test_the_policy_that_comes_along(tmp_path):
    out = tmp_path / "out"
    shapes = ["--model", "shapes", "--split", "val", "--start", "2", "--limit", "2", "--frames", "2"]
    assert app.main(["export", "trl", "shapes", "--out", str(out), *shapes]) == 0
    rows = lines(out / "train.jsonl")
    assert len(rows) == 2
    assert len(rows[0]["images"]) == 2
    assert json.loads(rows[0]["ground_truth"])["source_wh"] == [224, 224]


def test_a_dataset_info_of_others(root, tmp_path):
    info, out = tmp_path / "dataset_info.json", tmp_path / "out"
    info.write_text('{"theirs": {}}')
    run = ["export", "llamafactory", "folder", "--root", str(root), "--out", str(out), "--info", str(info)]
    assert app.main([*run, "--name", "ours", "--frame-size", "28x28"]) == 0
    assert list(json.loads(info.read_text())) == ["theirs", "ours"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["verll", "shapes"], "FORMAT: 'verll' must be one of"),
        (["trl", "shapes", "--chain", "revseg"], "TRL: the chain 'revseg' shows an image in its second turn"),
        (["trl", "shapes", "--chain", "hard"], "unknown chain 'hard'"),
        (["trl", "shapes", "--model", "owner/other-vl"], "owner/other-vl: how it writes boxes is not known"),
        (["trl", "shapes", "--info", "x.json"], "--info: trl reads no dataset_info.json"),
        (["trl", "shapes", "--name", "a b"], "--name: 'a b' is not valid"),
        (["trl", "shapes", "--split", "all"], "unknown split 'all'"),
        (["trl", "cot", "--root", "nowhere"], "settings.json"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path, capsys, words, why):
    assert app.main(["export", *words, "--out", str(tmp_path / "out")]) == 2
    assert why in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_others_is_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    assert app.main(["export", "trl", "shapes", "--out", str(tmp_path / "out")]) == 2
    assert "has 'diary.txt', which no earlier result wrote" in one_line(capsys)


def test_an_info_of_others_is_checked_before_anything_is_written(root, tmp_path, capsys):
    info, out = tmp_path / "dataset_info.json", tmp_path / "out"
    info.write_text('{"out": {}}')
    run = ["export", "llamafactory", "folder", "--root", str(root), "--out", str(out), "--info", str(info)]
    assert app.main(run) == 2
    assert "has another data set 'out'; choose another --name" in one_line(capsys)
    assert not out.exists()


def test_nothing_is_left_of_an_export_without_questions(root, tmp_path, capsys):
    (root / "queries.jsonl").write_text('{"video": "clip", "query": "who knows"}')
    out = tmp_path / "out"
    assert app.main(["export", "verl", "folder", "--root", str(root), "--label-unit", "index", "--out", str(out)]) == 2
    assert "none of 1 questions can be exported (no ground truth: 1)" in one_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
