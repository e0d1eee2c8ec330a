"""Two runs compared."""

import json

import pytest

from thinkseg.errors import SettingsError
from thinkseg.evaluation.comparison import compare, describe


def row(name, j, **others):
    video = name.partition("/")[0]
    known = {"id": name, "video": video, "category": "referring", "query": f"the {name}", "target": True}
    return {**known, "failure": None, "empty": False, "j": j, "f": j, **others}


@pytest.fixture
def run(tmp_path):
    """Writes a folder of results: run(name, rows, settings)."""

    def run(name, rows, **settings):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps({"data": "mevis", "split": "valid_u", **settings}))
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return run


def test_differences_are_of_the_questions_in_both(run):
    none = {"category": "no-target", "target": False}
    before = run("a", [row("x/0", 0.5), row("x/1", 0.4), row("y/0", 0.2), row("z/0", 0.0, **none), row("w/0", 1.0)])
    after = run("b", [row("y/0", 0.9), row("x/0", 0.5), row("z/0", 1.0, empty=True, **none), row("x/1", 0.3)])
    found = compare(before, after)
    assert [row["id"] for row in found.before] == [row["id"] for row in found.after] == ["x/0", "x/1", "y/0", "z/0"]
    assert found.alone == (1, 0)
    assert found.figures["referring"]["J&F"].value == pytest.approx(20)
    assert found.figures["overall"]["N-acc"].value == 100
    lines = describe(found, most=2).splitlines()
    assert lines[0] == "4 questions in both; 1 only in the first, 0 only in the second, left out"
    assert lines[-3:] == [
        "J&F differs in 3, most in",
        "    0.0 -> 100.0  z/0: the z/0",
        "   20.0 ->  90.0  y/0: the y/0",
    ]


def test_a_run_and_itself(run):
    folder = run("a", [row("x/0", 0.5), row("y/0", 0.7)])
    found = compare(folder, folder)
    assert {(figure.value, figure.low, figure.high) for figure in found.figures["overall"].values()} == {(0, 0, 0)}
    assert describe(found, most=3).splitlines()[-1] == "J&F differs in 0"


def test_runs_on_the_shapes_world(run):
    shape = {"id": "val-1", "category": "cause", "query": "q", "failure": None, "keyframe": 3, "target": True}
    before = run("a", [{**shape, "j": 0.5, "f": 0.5}], data="shapes")
    after = run("b", [{**shape, "keyframe": None, "j": 0.0, "f": 0.0}], data="shapes")
    figures = compare(before, after).figures["cause"]
    assert (figures["J"].value, figures["T-acc"].value) == (-50, -100)


def test_what_cannot_be_compared(run, tmp_path):
    first = run("a", [row("x/0", 0.5)])
    with pytest.raises(SettingsError, match="split is 'valid_u' and 'train'"):
        compare(first, run("b", [row("x/0", 0.5)], split="train"))
    with pytest.raises(SettingsError, match=r"asked is None and \{'none': 1\}"):
        compare(first, run("d", [row("x/0", 0.5)], asked={"none": 1}))
    with pytest.raises(SettingsError, match="no question in common"):
        compare(first, run("c", [row("y/0", 0.5)]))
    with pytest.raises(SettingsError, match="has no results"):
        compare(first, tmp_path)
