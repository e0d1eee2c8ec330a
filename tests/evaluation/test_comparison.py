"""Two runs compared."""

import json

import pytest

from thinkseg.errors import SettingsError
from thinkseg.evaluation.comparison import compare, format_comparison


def row(name, j, **others):
    video = name.partition("/")[0]
    known = {"id": name, "video": video, "category": "referring", "query": f"the {name}", "has_target": True}
    known["annotation_run"] = ""
    return {**known, "failure": None, "is_empty": False, "j": j, "f": j, **others}


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


def test_compare_uses_expressions_of_both(run):
    none = {"category": "no-target", "has_target": False}
    before = run("a", [row("x/0", 0.5), row("x/1", 0.4), row("y/0", 0.2), row("z/0", 0.0, **none), row("w/0", 1.0)])
    after = run("b", [row("y/0", 0.9), row("x/0", 0.5), row("z/0", 1.0, is_empty=True, **none), row("x/1", 0.3)])
    found = compare(before, after)
    assert [row["id"] for row in found.before] == [row["id"] for row in found.after] == ["x/0", "x/1", "y/0", "z/0"]
    assert found.unshared == (1, 0)
    assert found.metrics["referring"]["J&F"].value == pytest.approx(20)
    assert found.metrics["overall"]["N-acc"].value == 100
    lines = format_comparison(found, most=2).splitlines()
    assert lines[0] == "4 expressions in both; 1 only in the first, 0 only in the second, skipped"
    assert lines[-3:] == [
        "J&F differs in 3, most in",
        "    0.0 -> 100.0  z/0: the z/0",
        "   20.0 ->  90.0  y/0: the y/0",
    ]


def test_compare_lists_settings_that_differ(run):
    one = {
        "policy": "p",
        "reading": "repair",
        "view": {"num_frames": 4},
        "fingerprints": {"policy": {"config.json": "1"}},
    }
    other = {"policy": "p", "reading": "strict", "view": {"num_frames": 8}, "fingerprints": {}}
    found = compare(run("a", [row("x/0", 0.5)], **one), run("b", [row("x/0", 0.5)], **other))
    assert format_comparison(found, most=0).splitlines()[1:3] == [
        "reading: 'repair' in the first, 'strict' in the second",
        "num_frames: 4 in the first, 8 in the second",
    ]


def test_compare_with_itself_returns_0(run):
    folder = run("a", [row("x/0", 0.5), row("y/0", 0.7)])
    found = compare(folder, folder)
    assert {(one.value, one.low, one.high) for one in found.metrics["overall"].values()} == {(0, 0, 0)}
    assert format_comparison(found, most=3).splitlines()[-1] == "J&F differs in 0"


def test_compare_reads_rows_of_old_version(run):
    old = {"id": "val-1", "category": "cause", "query": "q", "failure": None, "keyframe": 3, "target": True}
    old |= {"j": 0.5, "f": 0.5, "r_k": 0.5, "tokens": {"read": 7, "written": 3}}
    before = run("a", [old], data="shapes", split="val", asked={"cause": 1})
    new = row("val-1/0", 0.0, category="cause", is_empty=True, r_k=0.25)
    found = compare(before, run("b", [new], data="shapes", split="val", category_weights={"cause": 1}))
    metrics = found.metrics["cause"]
    assert (metrics["J"].value, metrics["T-acc"].value, metrics["R_k"].value) == (-50, -100, -25)
    assert found.before[0]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}


def test_compare_reads_failures_and_keys_of_old_version(run):
    old = {"id": "x/0", "video": "x", "group": "", "category": "", "query": "q", "target": True, "frames": 3}
    old |= {"failure": "broken", "empty": False, "j": 0.0, "f": 0.0, "r_visa255": 0.5, "r_area": 0.25}
    folder = run("a", [old])
    (found,) = compare(folder, folder).before
    assert (found["failure"], found["has_target"], found["num_scored_frames"]) == ("unreadable", True, 3)
    assert (found["is_empty"], found["annotation_run"]) == (False, "")
    assert (found["robustness_visa255"], found["robustness_area"]) == (0.5, 0.25)


def test_compare_other_data_raises(run, tmp_path):
    first = run("a", [row("x/0", 0.5)])
    with pytest.raises(SettingsError, match="split differs, 'valid_u' and 'train'"):
        compare(first, run("b", [row("x/0", 0.5)], split="train"))
    with pytest.raises(SettingsError, match="x/0 has different videos"):
        compare(first, run("e", [row("x/0", 0.5, video="y")]))
    with pytest.raises(SettingsError, match=r"category_weights differs, None and \{'none': 1\}"):
        compare(first, run("d", [row("x/0", 0.5)], category_weights={"none": 1}))
    with pytest.raises(SettingsError, match="no expression in common"):
        compare(first, run("c", [row("y/0", 0.5)]))
    with pytest.raises(SettingsError, match="has no results"):
        compare(first, tmp_path)


def test_format_comparison_characters_that_control_a_terminal_are_escaped(run):
    rows = [row("x/0", 0.5, query="a\x1b[2J\nb"), row("x/1", 0.5, category="\x07")]
    changed = [{**one, "j": 1.0} for one in rows]
    text = format_comparison(compare(run("a", rows), run("b", changed)), most=3)
    assert "x/0: a\\x1b[2J b" in text
    assert "\\x07" in text
    assert all(char == "\n" or char.isprintable() for char in text)
