"""Rows that were edited or damaged since they were written."""

import json
from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.evaluation.old_results import read_results
from thinkseg.evaluation.stored_rows import check_row

ROW = {"id": "x/0", "video": "x", "category": "", "query": "q", "failure": None, "has_target": True, "is_empty": False}
ROW |= {"j": 0.5, "f": 1, "intersection": 3, "union": 4, "annotation_run": ""}
OBJECT = {"id": "x/0/object 1", "video": "x", "annotation_run": "", "object": 1, "j": 0.5, "f": 0.5}


def test_check_row_valid_rows_pass():
    for row in (ROW, OBJECT, {**ROW, "j": None, "f": None, "extra": [1]}, {**ROW, "ious": [[0.5, 1]], "tracks": 2}):
        check_row(row, Path("results.jsonl"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("j", "0.5"),
        ("j", [0.5]),
        ("j", float("nan")),
        ("j", 1.5),
        ("j", None),
        ("f", True),
        ("union", 2),
        ("union", 10**400),
        ("intersection", None),
        ("video", []),
        ("category", None),
        ("is_empty", "false"),
        ("has_target", 1),
        ("failure", {}),
        ("ious", [[0.5]]),
        ("tracks", "2"),
    ],
)
def test_check_row_invalid_field_raises_with_its_name(field, value):
    with pytest.raises(SettingsError, match=r"results\.jsonl: row 'x/0': .*; delete its line to compute it again"):
        check_row({**ROW, field: value}, Path("results.jsonl"))


@pytest.mark.parametrize("field", ["video", "j", "is_empty", "category"])
def test_check_row_missing_field_raises(field):
    with pytest.raises(SettingsError, match=f"{field}: Field required"):
        check_row({name: value for name, value in ROW.items() if name != field}, Path("results.jsonl"))


@pytest.mark.parametrize("change", [{"failure": []}, {"tokens": 3, "j": "x"}, {"tokens": {}, "f": "x"}])
def test_read_results_damaged_row_of_earlier_version_raises(tmp_path, change):
    old = {"id": "val-1", "category": "cause", "query": "q", "failure": None, "target": True, "j": 0.5, "f": 0.5}
    (tmp_path / "results.jsonl").write_text(json.dumps({**old, **change, "empty": None}) + "\n")
    with pytest.raises(SettingsError, match="row 'val-1"):
        read_results(tmp_path)
