"""`thinkseg report`: what it prints, and errors of one line."""

import json

import pytest

from evaluations import write_evaluation
from html_check import check_page
from thinkseg.cli import app
from thinkseg.data import open_benchmark


@pytest.fixture
def run(tmp_path):
    """The folder of an evaluation of one question."""
    benchmark = open_benchmark("shapes", limit=1)
    return write_evaluation(tmp_path / "run", benchmark, benchmark.expressions)


def report(capsys, *arguments):
    """Runs the command. Returns its status, and what it printed."""
    status = app.main(["report", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_report_evaluation_prints_page_and_size(run, tmp_path, capsys):
    status, printed, _ = report(capsys, run, "--out", tmp_path / "page")
    assert status == 0
    assert printed.startswith(f"wrote {tmp_path / 'page' / 'index.html'} (1 answer with pictures, 0.")
    check_page((tmp_path / "page" / "index.html").read_text("utf-8"))


def test_report_without_pictures_writes_the_page_alone(run, tmp_path, capsys):
    assert report(capsys, run, "--pictures", 0, "--out", tmp_path / "page")[0] == 0
    assert not list((tmp_path / "page" / "pictures").iterdir())


def test_report_cot_set_writes_its_review(tmp_path, capsys):
    assert app.main(["annotate", "shapes", "--count", "2", "--out", str(tmp_path / "cot")]) == 0
    capsys.readouterr()
    assert report(capsys, tmp_path / "cot", "--out", tmp_path / "page")[0] == 0
    page = check_page((tmp_path / "page" / "index.html").read_text("utf-8"))
    assert "Reasoning of cot, by rules" in page.text


@pytest.mark.parametrize("what", ["missing", "twice", "inside", "damaged"])
def test_report_bad_input_exits_2_with_one_line(run, tmp_path, capsys, what):
    if what == "damaged":
        (run / "results.jsonl").write_text("{}\n")
    arguments = {"missing": [tmp_path / "x"], "twice": [run, run], "damaged": [run], "inside": [run / "masks" / ".."]}
    out = run if what == "inside" else tmp_path / "page"
    status, printed, error = report(capsys, *arguments[what], "--out", out)
    assert (status, printed, len(error.splitlines())) == (2, "", 1)
    assert not (tmp_path / "page").exists()


def test_report_batch_shows_each_question_and_its_error(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "index.csv").write_text("id\n")
    row = {
        "id": "clip-1",
        "video": "clip.mp4",
        "query": "the <cat>",
        "folder": "",
        "status": "error",
        "error": "no such file",
    }
    (tmp_path / "run" / "results.jsonl").write_text(f"{json.dumps(row)}\n")
    assert report(capsys, tmp_path / "run", "--out", tmp_path / "page")[0] == 0
    page = check_page((tmp_path / "page" / "index.html").read_text("utf-8"))
    assert "the <cat>" in page.text
    assert "the video or the result cannot be used: no such file" in page.text
    (tmp_path / "run" / "results.jsonl").write_text(f"{json.dumps({**row, 'folder': '../x'})}\n")
    assert "could lead out" in report(capsys, tmp_path / "run", "--out", tmp_path / "other")[2]
