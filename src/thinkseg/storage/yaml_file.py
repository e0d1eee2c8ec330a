"""Reads YAML files of settings, which may be damaged or malicious, within fixed limits of time and memory.

Plain values mean what they look like: numbers are decimal, and only true and false are booleans. What other readers
convert silently (010 to 8, 1:30 to 90, 2024-01-01 to a date, no to false) stays text. Duplicate keys, tags and more
than one document are errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from thinkseg.errors import SettingsError

MAX_BYTES = 50_000
"""Size of a file. The parser reads about this much per second."""

MAX_DEPTH = 30
"""Levels of nesting."""

MAX_VALUES = 10_000
"""Values of a file, with those that aliases repeat: a short file of nested aliases can stand for billions."""

_TAG = "tag:yaml.org,2002:"
_PLAIN_VALUES = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    # Longer integers stay text, because int() rejects thousands of digits.
    "int": r"[-+]?(?:0|[1-9][0-9_]{0,39})",
    "float": r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan",
    "merge": "<<",
}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that no setting has, and that file names and UTF-8 reject."""


def load_yaml(path: str | Path) -> Any:
    """Returns the content of a YAML file. Raises SettingsError with the file and, if known, the line."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError(f"{path}: has more than {MAX_BYTES:,} bytes; give a file of settings")
        return parse_yaml(data.decode("utf-8-sig"), path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text file in UTF-8; save it as one") from None
    except ValueError as error:  # a path with a NUL byte
        raise SettingsError(f"{str(path)!r}: cannot be read: {error}; check the path") from None


def parse_yaml(text: str, name: str | Path) -> Any:
    """Returns the content of a YAML text, which has the name in errors. Raises SettingsError."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: {_described(error)}") from None


def _described(error: yaml.YAMLError) -> str:
    if isinstance(error, _LimitError):
        return error.problem
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    problem = ", ".join(filter(None, parts)) or " ".join(str(error).split())
    return f"{place}invalid YAML: {problem}; correct the file"


class _LimitError(yaml.YAMLError):
    """The file is beyond a limit of this module. problem: the message."""

    def __init__(self, problem: str, at: yaml.Event | yaml.Node) -> None:
        line = f"line {at.start_mark.line + 1}: " if at.start_mark else ""
        self.problem = line + problem


class _Loader(yaml.SafeLoader):
    """Composes nodes within the limits, and constructs the values of JSON."""

    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}  # noqa: RUF012
    _depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace(_TAG, "!!")[:40]
            raise _LimitError(f"the tag {tag!r} is not supported; remove it", event)
        if self._depth == MAX_DEPTH:
            raise _LimitError(f"more than {MAX_DEPTH} levels of nesting; remove some", event)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if _CONTROL.search(node.value):
            raise _LimitError(f"{node.value[:40]!r} has a control character; remove it", node)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _LimitError("a key is a list or a mapping; write a name", key)
            if (key.tag, key.value) in seen:
                raise _LimitError(f"duplicate key {key.value[:40]!r}; keep one", key)
            seen.add((key.tag, key.value))
        return node


for _kind, _pattern in _PLAIN_VALUES.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), None)


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Returns the number of values in a node with those that aliases repeat. counts: of nodes by id, filled here."""
    if id(node) in counts:
        if not (known := counts[id(node)]):
            raise _LimitError("a value contains itself; remove the alias", node)
        return known
    counts[id(node)] = 0
    children = [] if isinstance(node, yaml.ScalarNode) else node.value
    inner = [one for child in children for one in (child if isinstance(child, tuple) else (child,))]
    total = 1 + sum(_count_values(one, counts) for one in inner)
    if total > MAX_VALUES:
        raise _LimitError(f"more than {MAX_VALUES:,} values; remove some, or aliases (*name)", node)
    counts[id(node)] = total
    return total
