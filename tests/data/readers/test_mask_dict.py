"""Values of a large JSON object, compared with json.loads, and invalid files."""

import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.data.readers import mask_dict
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_dict import MaskFile

# The alphabet of RLEs includes brackets, colons and backslashes; these often look like JSON.
COUNTS = st.lists(st.sampled_from(["[", "]", ":", "\\", "\\\\", "0", "o", ":[", "]:", "n", "`"]), max_size=12).map(
    "".join
)
RLES = st.builds(
    lambda size, counts: {"size": size, "counts": counts}, st.lists(st.integers(1, 999), min_size=2, max_size=2), COUNTS
)
TRACKS = st.lists(st.none() | RLES | RLES.map(lambda rle: dict(reversed(rle.items()))), max_size=3)
KEYS = st.from_regex(r"[0-9]{1,4}", fullmatch=True) | st.text(max_size=5)
LAYOUTS = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"indent": "\t", "ensure_ascii": False}])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file for all examples of a property: a folder per example is slow."""
    return tmp_path_factory.mktemp("masks") / "masks.json"


@pytest.fixture
def narrow(monkeypatch):
    """Searches the file in many windows, each of which repeats the start of the next."""
    monkeypatch.setattr(mask_dict, "_WINDOW", 16)


@pytest.fixture
def written(tmp_path):
    def written(text, opens="["):
        path = tmp_path / "masks.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return MaskFile(path, opens)

    return written


@given(value=st.dictionaries(KEYS, TRACKS, max_size=4), layout=LAYOUTS)
def test_mask_file_lists_match_json(path, value, layout):
    path.write_bytes(json.dumps(value, **layout).encode())
    masks = MaskFile(path, "[")
    assert len(masks) == len(value)
    for key, track in value.items():
        assert key in masks
        assert masks[key].value == track


@given(
    value=st.dictionaries(KEYS, st.fixed_dictionaries({"masks_rle": TRACKS, "ratio": st.lists(st.floats(0, 1))})),
    layout=LAYOUTS,
)
def test_mask_file_objects_match_json(path, value, layout):
    path.write_bytes(json.dumps(value, **layout).encode())
    masks = MaskFile(path, "{")
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == len(value)


def test_mask_file_missing_file_raises_on_access(tmp_path):
    masks = MaskFile(tmp_path / "none.json", "[")
    with pytest.raises(DatasetFileError, match=r"none\.json: cannot be read"):
        assert "1" in masks


def test_mask_file_unknown_key_raises(written):
    masks = written('{"1": []}')
    assert "2" not in masks
    with pytest.raises(DatasetFileError, match=r"masks\.json: no entry '2'") as caught:
        masks["2"]
    assert caught.value.kind == "unknown_id"


def test_mask_file_pickle_keeps_spans(written):
    masks = written('{"1": [null], "2": [{"size": [1, 1], "counts": "1"}]}')
    assert "1" in masks
    again = pickle.loads(pickle.dumps(masks))
    assert again["2"].items()[0]["counts"].value == "1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "[]",
        '[{"1": []}]',
        "{",
        "}",
        '{"1": [',
        '{"1": []',
        '{"1": [null]} x',
        '{"1": [null] "2": [null]}',
        '{"1": [null], "2": 5, "3": [null], ',
        '{"masks": {"1": [null]}}',
        'x{"1": [null]}',
        '{"\\x": [null]}',
        '"": [null]}',
        '\\": [null]}',
        " " * 5000 + '{"1": [null]}',
    ],
)
def test_mask_file_other_format_raises(written, text):
    masks = written(text)
    with pytest.raises(DatasetFileError, match=r"masks\.json: (empty|truncated|not a JSON object|a key)") as caught:
        len(masks)
    assert caught.value.kind == "invalid_file"


def test_mask_file_escaped_keys_match_json(written):
    value = {'a"b': [None], "\\": [], '"': [None], '\\"': [None, None]}
    masks = written(json.dumps(value))
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == len(value)


@pytest.mark.parametrize("counts", [":[]", ":[]:[", "[", "\\", ":[\\", "]:[]"])
def test_mask_file_rles_like_key_ends_match_json(written, counts):
    value = {"1": [{"size": [4, 5], "counts": counts}, None], "2": [{"counts": counts, "size": [4, 5]}]}
    masks = written(json.dumps(value))
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == 2


@pytest.mark.parametrize(
    "value", ["[null, nul]", '[{"size": [1, 1]]', '[{"counts": "1}]', "[null], 5", "[null],", "[null]} {"]
)
def test_mask_file_invalid_value_raises_on_access_only(written, value):
    masks = written(f'{{"1": {value}, "2": [null]}}')
    assert masks["2"].value == [None]
    with pytest.raises(DatasetFileError, match=r"masks\.json: 1: not JSON"):
        masks["1"]


def test_mask_file_deleted_file_raises(written):
    masks = written('{"1": [null]}')
    assert "1" in masks
    masks.path.unlink()
    with pytest.raises(DatasetFileError, match="cannot be read"):
        masks["1"]


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,nul 1\\').map(str.encode))
def test_mask_file_any_bytes_match_json_or_raise(path, data):
    path.write_bytes(data)
    masks = MaskFile(path, "[")
    try:
        keys = list(masks._spans)
        for key in keys:
            masks[key]
    except DatasetFileError:
        return
    assert set(json.loads(data)) == set(keys)


def test_mask_file_changed_since_it_was_scanned_raises(written):
    masks = written('{"1": [null]}')
    before = masks.fingerprint
    assert masks["1"].value == [None]
    again = written('{"2": [], "1": [null]}')
    with pytest.raises(DatasetFileError, match="has changed since the data set was opened; start again"):
        masks["1"]
    with pytest.raises(DatasetFileError, match="has changed since"):
        pickle.loads(pickle.dumps(masks))["1"]
    assert again.fingerprint != before


def test_mask_file_many_windows_match_json(written, narrow):
    value = {f"key {number}": [None, {"size": [4, number], "counts": "0]:["}] for number in range(50)}
    masks = written(json.dumps(value, indent=1))
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == 50


def test_mask_file_shrinks_while_it_is_searched_raises(written, narrow, monkeypatch):
    masks, read = written(json.dumps({str(number): [None] for number in range(2000)})), mask_dict._Bytes.read

    def shrink(self, start, end):
        data = read(self, start, end)
        os.truncate(masks.path, 1000)
        return data

    monkeypatch.setattr(mask_dict._Bytes, "read", shrink)
    with pytest.raises(DatasetFileError, match=r"truncated file|not a JSON object"):
        len(masks)


def test_mask_file_shrinks_after_the_search_raises(written):
    masks = written(json.dumps({"1": [None, None], "2": [None]}))
    assert len(masks) == 2
    os.truncate(masks.path, 8)
    with pytest.raises(DatasetFileError):
        masks["2"]
