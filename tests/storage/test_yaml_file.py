"""YAML files of settings: what values mean, and that hostile files end quickly in one line."""

import math
from pathlib import Path
from typing import Any

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.yaml_file import MAX_BYTES, MAX_DEPTH, load_yaml


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    """Writes a file, as text or bytes, and loads it."""

    def loaded(content: str | bytes) -> Any:
        file = tmp_path / "file.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_yaml(file)

    return loaded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("+5", 5),
        ("90_000_000", 90_000_000),
        ("1e-4", 1e-4),
        ("2.5E3", 2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e400", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("9" * 5000, "9" * 5000),
        ("=", "="),
    ],
)
def test_load_yaml_value_means_what_it_looks_like(loaded: Any, text: str, value: Any) -> None:
    found = loaded(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_load_yaml_anchors_and_merges_are_resolved(loaded: Any) -> None:
    content = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]"
    assert loaded(content) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}


def test_load_yaml_byte_order_mark_is_skipped(loaded: Any) -> None:
    assert loaded(b"\xef\xbb\xbfa: 1") == {"a": 1}


def aliases(repeated: str) -> str:
    """Nested aliases; the last one stands for 9**12 values."""
    lines = ["v0: &v0 {x: 1}"]
    lines += [f"v{i}: &v{i} {repeated % ', '.join([f'*v{i - 1}'] * 9)}" for i in range(1, 13)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (aliases("[%s]"), "line 5: more than 10,000 values"),
        (aliases("{<<: [%s]}"), "line 5: more than 10,000 values"),
        ("a: &a [*a]", "line 1: a value contains itself"),
        ("&a {b: *a}", "line 1: a value contains itself"),
        ("a: 1\nb: 2\na: 3", "line 3: duplicate key 'a'; keep one"),
        ("{a: 1, 'a': 2}", "duplicate key 'a'"),
        ("a: &x {<<: {b: 1}, <<: {b: 2}}", "duplicate key '<<'"),
        ("[" * 10_000, f"more than {MAX_DEPTH} levels"),
        ("{a: " * 10_000, f"more than {MAX_DEPTH} levels"),
        ("- " * 10_000, f"more than {MAX_DEPTH} levels"),
        ("? " * 10_000, f"more than {MAX_DEPTH} levels"),
        ("a: !!python/object/apply:os.system [ls]", "the tag '!!python/object/apply:os.system' is not supported"),
        ("a: !!int 12", "the tag '!!int' is not supported"),
        ("a: !!set {b}", "the tag '!!set' is not supported"),
        ("[a]: 1", "a key is a list or a mapping"),
        ("a: 1\n---\nb: 2", "line 2: invalid YAML: expected a single document"),
        ("a:\n\tb: 1", "line 2: invalid YAML"),
        ("a: *b", "found undefined alias 'b'"),
        ("<<: 3", "expected a mapping or list of mappings for merging"),
        ("a: \0", "invalid YAML: unacceptable character #x0000"),
        ('a: "\\0"', "has a control character; remove it"),
        ('a: "\\ud800"', "has a control character; remove it"),
        ("a: 1".encode("utf-16"), "not a text file in UTF-8"),
        ("a" * (MAX_BYTES + 1), "has more than 50,000 bytes"),
    ],
)
def test_load_yaml_hostile_file_is_one_line(loaded: Any, content: str | bytes, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(content)
    assert complaint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/dev/zero", "has more than 50,000 bytes"),
        ("/", "Is a directory"),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory; check the path"),
        ("a\0b", "'a\\x00b': cannot be read: embedded null byte"),
    ],
)
def test_load_yaml_path_without_settings_is_one_line(path: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_yaml(Path(path))
    assert complaint in str(caught.value)
