"""Checked JSON values, and safe names."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, is_safe_name, list_folder, parse_json, read_json, shorten

ODD_TEXT = st.lists(st.sampled_from(["..", ".", "/", "\\", "\0", "a", "C:", "clip", " ", "\ud800", "é"])).map("".join)


@pytest.fixture
def meta():
    return parse_json(b'{"videos": {"clips/7": {"frames": ["00000", 5], "width": 854, "fps": 2.5}}}', "meta.json")


def test_where_names_file_and_fields(meta):
    video = meta["videos"]["clips/7"]
    assert meta.where == "meta.json"
    assert video["frames"].items()[1].where == "meta.json: videos > clips/7 > frames > 1"
    assert [node.key for node in meta["videos"].values()] == ["clips/7"]
    assert "frames" in video
    assert "height" not in video


def test_json_node_valid_values_are_returned(meta):
    video = meta["videos"]["clips/7"]
    assert [frame.id_text() for frame in video["frames"].items()] == ["00000", "5"]
    assert video["frames"].items()[0].text() == "00000"
    assert video["width"].integer() == 854
    assert video.key_name(nested=True) == "clips/7"


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda video: video["height"], "meta.json: videos > clips/7 has no field 'height'"),
        (lambda video: video["width"]["x"], "width must be an object with fields, not 854"),
        (lambda video: "x" in video["frames"], "frames must be an object with fields"),
        (lambda video: list(video["width"].values()), "width must be an object with fields"),
        (lambda video: video.items(), "clips/7 must be a list"),
        (lambda video: video["width"].text(), "width must be text, not 854"),
        (lambda video: video["fps"].integer(), "fps must be an integer >= 0, not 2.5"),
        (lambda video: video["fps"].id_text(), "fps must be an id, not 2.5"),
        (lambda video: video["frames"].items()[0].integer(), "frames > 0 must be an integer >= 0"),
        (lambda video: video.key_name(), "names 'clips/7', which could lead out of"),
    ],
)
def test_json_node_invalid_value_raises_with_position(meta, ask, complaint):
    with pytest.raises(DatasetFileError, match=complaint):
        ask(meta["videos"]["clips/7"])


@pytest.mark.parametrize("value", [None, True, "", " \n", [], {}, -1])
def test_text_and_integer_other_types_raise(value):
    node = JsonNode(value, "file.json")
    for read in (node.text, node.integer):
        with pytest.raises(DatasetFileError, match=r"file\.json must be"):
            read()


def test_error_long_value_is_shortened():
    with pytest.raises(DatasetFileError) as caught:
        JsonNode(["x" * 1000] * 1000, "a.json")["k" * 1000].text()
    assert len(str(caught.value)) < 300
    assert len(JsonNode({"k" * 1000: 1}, "a.json")["k" * 1000].where) < 100
    assert shorten("x" * 100, 10) == "xxxxxxx..."


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"a": 1} x', b"[" * 100_000, b"1" * 5000, b'"\xc3"'])
def test_parse_json_invalid_raises(data):
    with pytest.raises(DatasetFileError, match=r"list\.json: (not JSON|nested too deeply)") as caught:
        parse_json(data, "list.json")
    assert caught.value.kind == "invalid_file"


def test_read_json_and_list_folder_missing_raise(tmp_path):
    for read in (read_json, list_folder):
        with pytest.raises(DatasetFileError, match=r"missing\.json: cannot be read") as caught:
            read(tmp_path / "missing.json")
        assert caught.value.kind == "invalid_file"


@given(ODD_TEXT | st.text(), st.booleans())
def test_is_safe_name_joined_stays_below_root(name, nested):
    if not is_safe_name(name, nested):
        return
    root = "/data/root"
    joined = os.path.normpath(os.path.join(root, name))
    assert joined == f"{root}/{name}"
    assert nested or os.path.dirname(joined) == root
    assert os.fsencode(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "a/",
        "../a",
        "a\\b",
        "C:",
        "C:a",
        "a\0",
        "\ud800",
        "//host/share",
        "a" * 241,
        "é" * 121,
    ],
)
def test_is_safe_name_unsafe_name_is_false(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize(
    "name", ["a/../b", "../a", "/a", "a/", "a//b", "./a", "a/..", "C:/a", "a\\b/c", "a/" * 500 + "a"]
)
def test_is_safe_name_unsafe_path_is_false(name):
    assert not is_safe_name(name, nested=True)


@pytest.mark.parametrize("name", ["a", "00000", "a b", "...", "..a", "-r", "été", "ab:c", "~"])
def test_is_safe_name_plain_name_is_true(name):
    assert is_safe_name(name)
    assert is_safe_name(f"{name}/{name}", nested=True)
    assert not is_safe_name(f"{name}/{name}")
