"""`thinkseg data NAME`: what is there of a benchmark, and what is wrong with it."""

import json

import numpy as np
import pytest
from PIL import Image

from thinkseg.cli import app
from thinkseg.data import FILE_BENCHMARKS
from thinkseg.rle import encode


@pytest.fixture
def root(tmp_path):
    """A tree in the layout of MeViS: one video of two frames, and one expression of each kind."""
    split = tmp_path / "valid_u"
    (split / "JPEGImages" / "clip").mkdir(parents=True)
    for name in ("00000", "00001"):
        Image.new("RGB", (4, 4)).save(split / "JPEGImages" / "clip" / f"{name}.jpg")
    targets = {"0": [1], "1": [1, 2], "2": []}
    expressions = {name: {"exp": f"target {name}", "obj_id": ids, "anno_id": ids} for name, ids in targets.items()}
    videos = {"clip": {"vid_id": 0, "frames": ["00000", "00001"], "expressions": expressions}}
    (split / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    rle = encode(np.eye(4, dtype=bool))
    (split / "mask_dict.json").write_text(json.dumps({"1": [rle, None], "2": [None, rle]}))
    return tmp_path


def printed(capsys):
    """Lines of a table as {name: count}, the indented ones by their last word alone."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {" ".join(line[:-1]): int(line[-1]) for line in lines if line[-1].isdigit()}


def test_a_whole_tree_is_counted(root, capsys):
    assert app.main(["data", "mevis", "--root", str(root), "--split", "valid_u"]) == 0
    assert printed(capsys) == {
        "videos": 1,
        "frames": 2,
        "scored": 2,
        "expressions": 3,
        "referring": 2,
        "no-target": 1,
        "single": 1,
        "multiple": 1,
        "none": 1,
        "issues": 0,
    }


def test_a_broken_tree_is_counted_and_told_of_and_refused(root, capsys):
    (root / "valid_u" / "JPEGImages" / "clip" / "00001.jpg").unlink()
    (root / "valid_u" / "mask_dict.json").write_text('{"1": [null, null]}')
    run = ["data", "mevis", "--root", str(root)]
    assert app.main(run) == 2
    told = capsys.readouterr()
    assert told.err == f"thinkseg: {root}: 2 issues found; fix them, or pass --keep-going to ignore them\n"
    assert "00001.jpg: no such frame; is the data set complete?" in told.out
    assert "mask_dict.json: no annotation 2, needed for video clip" in told.out
    assert app.main([*run, "--keep-going"]) == 0
    assert capsys.readouterr() == (told.out, "")


def test_a_broken_list_is_an_error_even_when_going_on(root, capsys):
    (root / "valid_u" / "meta_expressions.json").write_text("{")
    assert app.main(["data", "mevis", "--root", str(root), "--keep-going"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "meta_expressions.json: not JSON" in told.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--split", "best"], "unknown split 'best'; must be one of"),
        (["--root", "nowhere"], ": cannot be read"),
        (["--root", "9" * 5000], "File name too long"),
    ],
)
@pytest.mark.parametrize("name", FILE_BENCHMARKS)
def test_what_cannot_be_opened(tmp_path, monkeypatch, capsys, name, arguments, named):
    monkeypatch.chdir(tmp_path)
    root = [] if "--root" in arguments else ["--root", "."]
    assert app.main(["data", name, *root, *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("name", FILE_BENCHMARKS)
def test_help_names_the_splits(name, capsys):
    assert app.main(["data", name, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for split in FILE_BENCHMARKS[name].splits:
        assert split in told
    assert "--root DIR" in told
    assert "--keep-going" in told


@pytest.mark.parametrize(
    "command",
    [
        ["data", "mevis"],
        ["evaluate", "mevis", "--out", "out"],
        ["score", "mevis", "--predictions", "."],
        ["validate", "mevis"],
        ["submit", "mevis", "--predictions", ".", "--out", "out.zip"],
        ["export", "jsonl", "mevis", "--out", "out"],
        ["annotate", "mevis", "--annotator", "openai:x@http://localhost:1/v1", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_a_split_without_expressions_is_status_2(command, root, capsys, monkeypatch):
    monkeypatch.chdir(root)
    (root / "valid_u" / "meta_expressions.json").write_text('{"videos": {}}')
    assert app.main([*command, "--root", str(root), "--split", "valid_u"]) == 2
    line = f"thinkseg: {root}: MeViS, valid_u: no expressions; choose another split or folder\n"
    assert capsys.readouterr().err == line
    assert not (root / "out").exists()


def test_a_file_without_queries_is_status_2(tmp_path, capsys):
    (tmp_path / "queries.jsonl").write_text("\n")
    assert app.main(["evaluate", "folder", "--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no expressions; choose another split or folder" in capsys.readouterr().err
