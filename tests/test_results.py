"""A folder of results that is cut off and gone on with; see test_evaluate.py for what evaluations make of it."""

import json

import pytest

from thinkseg.errors import SettingsError
from thinkseg.results import ResultFolder, read_rows, read_settings, replace_json


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_cut_anywhere_is_dropped_and_the_others_stay(tmp_path, cut):
    folder = ResultFolder(tmp_path / "out", {})
    for name in "ab":
        folder.add({"id": name})
    path = tmp_path / "out" / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = ResultFolder(tmp_path / "out", {})
    assert list(again.rows) == ["a"]
    again.add({"id": "b"})
    assert path.read_bytes() == whole


def test_rows_are_read_while_they_are_being_written(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"')
    assert list(read_rows(path)) == ["a"]


def test_no_rows_yet(tmp_path):
    assert read_rows(tmp_path / "results.jsonl") == {}


def test_no_results(tmp_path):
    with pytest.raises(SettingsError, match="holds no results"):
        read_settings(tmp_path)


def test_a_file_that_cannot_be_written_in_full_stays_as_it_was(tmp_path):
    path = tmp_path / "scores.json"
    replace_json({"a": 1}, path)
    with pytest.raises(TypeError):
        replace_json({"a": {1, 2}}, path)
    assert json.loads(path.read_text()) == {"a": 1}
