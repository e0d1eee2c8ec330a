"""Single values of a large JSON file, against json.loads on all of it, and on broken files."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_dict import MaskFile

# The alphabet of run lengths, which holds brackets, colons and backslashes; often in orders that look like JSON.
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
    """One file for all examples of a property: making a folder for each takes longer than the rest."""
    return tmp_path_factory.mktemp("masks") / "masks.json"


@pytest.fixture
def written(tmp_path):
    def written(text, opens="["):
        path = tmp_path / "masks.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return MaskFile(path, opens)

    return written


@given(value=st.dictionaries(KEYS, TRACKS, max_size=4), layout=LAYOUTS)
def test_lists_are_found_as_json_finds_them(path, value, layout):
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
def test_objects_are_found_as_json_finds_them(path, value, layout):
    path.write_bytes(json.dumps(value, **layout).encode())
    masks = MaskFile(path, "{")
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == len(value)


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    masks = MaskFile(tmp_path / "none.json", "[")
    with pytest.raises(DatasetFileError, match=r"none\.json: cannot be read"):
        assert "1" in masks


def test_a_key_that_is_not_there(written):
    masks = written('{"1": []}')
    assert "2" not in masks
    with pytest.raises(DatasetFileError, match=r"masks\.json: no entry '2'") as caught:
        masks["2"]
    assert caught.value.kind == "unknown_id"


def test_a_copy_in_another_process_knows_where_things_are(written):
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
def test_what_is_no_such_file(written, text):
    masks = written(text)
    with pytest.raises(DatasetFileError, match=r"masks\.json: (empty|truncated|not a JSON object|a key)") as caught:
        len(masks)
    assert caught.value.kind == "invalid_file"


def test_quotes_and_backslashes_in_a_key(written):
    value = {'a"b': [None], "\\": [], '"': [None], '\\"': [None, None]}
    masks = written(json.dumps(value))
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == len(value)


@pytest.mark.parametrize("counts", [":[]", ":[]:[", "[", "\\", ":[\\", "]:[]"])
def test_run_lengths_that_look_like_the_end_of_a_key(written, counts):
    value = {"1": [{"size": [4, 5], "counts": counts}, None], "2": [{"counts": counts, "size": [4, 5]}]}
    masks = written(json.dumps(value))
    assert {key: masks[key].value for key in value} == value
    assert len(masks) == 2


@pytest.mark.parametrize(
    "value", ["[null, nul]", '[{"size": [1, 1]]', '[{"counts": "1}]', "[null], 5", "[null],", "[null]} {"]
)
def test_a_broken_value_is_met_when_it_is_read_and_spoils_no_other(written, value):
    masks = written(f'{{"1": {value}, "2": [null]}}')
    assert masks["2"].value == [None]
    with pytest.raises(DatasetFileError, match=r"masks\.json: 1: not JSON"):
        masks["1"]


def test_a_file_that_went_away(written):
    masks = written('{"1": [null]}')
    assert "1" in masks
    masks.path.unlink()
    with pytest.raises(DatasetFileError, match="cannot be read"):
        masks["1"]


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,nul 1\\').map(str.encode))
def test_any_bytes_are_a_file_or_a_flaw(path, data):
    path.write_bytes(data)
    masks = MaskFile(path, "[")
    try:
        keys = list(masks._spans)
        for key in keys:
            masks[key]
    except DatasetFileError:
        return
    assert set(json.loads(data)) == set(keys)
