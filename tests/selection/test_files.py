"""Selections as files, and the benchmarks that they select."""

import json

import pytest

import layouts
from layouts import editing
from thinkseg.data import open_benchmark
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.selection.files import select, write_selection


@pytest.fixture
def revos(tmp_path):
    layouts.revos(tmp_path / "tree")
    return open_benchmark("revos", tmp_path / "tree")


@pytest.fixture
def file(revos, tmp_path):
    path = tmp_path / "select.json"
    write_selection(revos, ["solo/0", "lvos/clip/1"], {"seed": 3}, path)
    return path


def test_write_selection_states_data_and_ids_in_order(file):
    content = json.loads(file.read_text())
    assert (content["data"], content["split"], content["seed"]) == ("revos", "valid", 3)
    assert content["expressions"] == ["lvos/clip/1", "solo/0"]


def test_select_keeps_expressions_and_their_videos(revos, file):
    assert [one.key for one in select(revos, file).expressions] == ["lvos/clip/1", "solo/0"]
    with editing(file) as content:
        content["expressions"] = ["solo/0"]
    with pytest.raises(SettingsError, match="has changed since the selection"):
        select(revos, file)


def test_select_is_part_of_the_identity_of_a_run(revos, file, tmp_path):
    other = tmp_path / "other.json"
    write_selection(revos, ["solo/0"], {}, other)
    identities = [one.run_settings() for one in (revos, select(revos, file), select(revos, other))]
    assert "select" not in identities[0]
    assert identities[1]["select"] != identities[2]["select"]
    assert list(select(revos, other).videos) == ["solo"]


def test_write_selection_of_nothing_raises(revos, tmp_path):
    with pytest.raises(SettingsError, match="no expression is selected"):
        write_selection(revos, [], {}, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("split", "train", "selects from 'revos', split 'train', not from revos, split 'valid'"),
        ("data", "mevis", "selects from 'mevis', split 'valid', not from"),
        ("expressions", ["solo/0", "solo/9"], "1 of 2 expressions are not in revos, split 'valid', such as 'solo/9'"),
        ("expressions", [], "selects no expression"),
        ("fingerprint", "0", "has changed since the selection"),
    ],
)
def test_select_of_other_data_raises(revos, file, field, value, message):
    with editing(file) as content:
        content[field] = value
    with pytest.raises(SettingsError, match=message):
        select(revos, file)


@pytest.mark.parametrize("text", ["", "[]", '{"data": "revos", "split": "valid", "expressions": 3}', '{"data": 1}'])
def test_select_invalid_file_raises(revos, tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DatasetError, match=r"bad\.json"):
        select(revos, tmp_path / "bad.json")


def test_select_edited_data_raises(revos, file, tmp_path):
    with editing(tmp_path / "tree" / "meta_expressions_valid_.json") as meta:
        meta["videos"]["solo"]["expressions"]["0"]["exp"] = "the ceiling"
    with pytest.raises(SettingsError, match="has changed since the selection"):
        select(open_benchmark("revos", tmp_path / "tree"), file)
