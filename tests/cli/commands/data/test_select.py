"""`thinkseg data select NAME`, and the commands that take its file."""

import json

import pytest

from thinkseg import models
from thinkseg.cli import app
from thinkseg.cli.dataset_options import dataset_options
from thinkseg.console import Progress
from thinkseg.data.shapes.writer import write_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six clips in the layout of ReVOS, with three questions each."""
    root = tmp_path_factory.mktemp("tree")
    write_dataset(root, "val", range(6), (32, 24), num_questions=3)
    return root


@pytest.fixture
def run(root):
    def run(*args):
        *command, last = args[0].split()
        return app.main([*command, last, "--root", str(root), "--split", "valid", *map(str, args[1:])])

    return run


@pytest.fixture
def file(run, tmp_path):
    assert run("data select revos", "--count", 4, "--no-target-share", 0.25, "--out", tmp_path / "s.json") == 0
    return tmp_path / "s.json"


def test_select_prints_strata_and_writes_file(run, tmp_path, capsys):
    file = tmp_path / "s.json"
    assert run("data select revos", "--count", 4, "--no-target-share", 0.25, "--out", file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["stratum", "available", "drawn"]
    assert lines[5].split()[-1] == "1"
    assert "4 expressions, seed 0, share without a target 0.250" in lines
    content = json.loads(file.read_text())
    assert (len(content["expressions"]), content["no_target_share"], content["trackable"]) == (4, 0.25, None)


def test_select_trackable_drops_and_resumes(run, tmp_path, capsys, box_tracker, monkeypatch):
    monkeypatch.setattr(models, "load_tracker", lambda *_, **__: box_tracker)
    args = ("data select revos", "--count", 6, "--out", tmp_path / "s.json", "--trackable")
    assert run(*args, 0) == 0
    rows = (tmp_path / "s.json.tracked" / "results.jsonl").read_text()
    everything = json.loads((tmp_path / "s.json").read_text())
    assert run(*args, sorted(json.loads(row)["iou"] for row in rows.splitlines())[-1]) == 0
    kept = json.loads((tmp_path / "s.json").read_text())
    assert 0 < len(kept["expressions"]) < len(everything["expressions"]) == 6
    assert kept["trackable"]["tracker"] == box_tracker.name
    assert (tmp_path / "s.json.tracked" / "results.jsonl").read_text() == rows
    capsys.readouterr()
    assert run(*args, 0.9999) == 2
    assert "no expression reaches a mean IoU of 0.9999; lower it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--count", 3000), "cannot draw 3,000 questions with a target and 0 without"),
        (("--no-target-share", 1), "is not a share"),
        (("--trackable", 0.6, "--tracker", "nowhere"), "unknown tracker 'nowhere'"),
    ],
)
def test_select_what_cannot_be_is_one_line(run, tmp_path, capsys, args, message):
    assert run("data select revos", *args, "--out", tmp_path / "s.json") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


def test_select_option_opens_selection_alone(root, file):
    selected = dataset_options("revos")(root=root, split="valid", select=file)
    with Progress() as progress:
        opened = selected.open(progress)
    assert [one.key for one in opened.expressions] == json.loads(file.read_text())["expressions"]


def test_selection_of_another_split_is_refused(root, file, tmp_path, capsys):
    file.write_text(file.read_text().replace('"valid"', '"train"'))
    args = ["evaluate", "revos", "--root", str(root), "--split", "valid", "--select", str(file)]
    assert app.main([*args, "--out", str(tmp_path / "out")]) == 2
    assert "selects from 'revos', split 'train'" in capsys.readouterr().err


def test_selection_is_exported_alone(root, file, tmp_path, capsys):
    args = ["export", "llamafactory", "revos", "--root", str(root), "--split", "valid", "--select", str(file)]
    assert app.main([*args, "--frames", "2", "--frame-size", "56x56", "--out", str(tmp_path / "out")]) == 0
    assert "wrote 4 questions" in capsys.readouterr().out
