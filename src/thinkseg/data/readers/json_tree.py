"""A data set's folder, read with suspicion: JSON values that know where they stand, and paths that stay below the root.

    videos = read_json(root / "meta.json")["videos"]
    for video in videos.values():
        video.name(nested=True)         "clips/7", the key, checked to be a path below the root
        video["width"].whole()          854, or TreeError: meta.json: videos > clips/7 > width must be a whole number

What comes from a data set's files may be damaged, or made to do harm. What is read here is either as documented, or a
`DatasetFileError` that names file and field.
"""

from __future__ import annotations

import json
import ntpath
import os
import reprlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from thinkseg.data.readers.issues import DatasetFileError, Kind


class JsonNode:
    """A value of a JSON file with its place in it.

    value: what json.loads gave. key: the field's name or its position in a list; for a whole file, its path.
    """

    __slots__ = ("key", "parent", "value")

    def __init__(self, value: Any, key: str | int, parent: JsonNode | None = None) -> None:
        self.value = value
        self.key = key
        self.parent = parent

    @property
    def where(self) -> str:
        """The place in words: file: field > field."""
        steps: list[str] = []
        node: JsonNode | None = self
        while node is not None:
            steps.append(str(node.key))
            node = node.parent
        path, *fields = reversed(steps)
        return f"{path}: {' > '.join(map(shorten, fields))}" if fields else path

    def flaw(self, kind: Kind, what: str) -> DatasetFileError:
        """An error about this value: its place, then what is wrong."""
        return DatasetFileError(kind, f"{self.where} {what}")

    def __contains__(self, field: str) -> bool:
        return field in self._mapping()

    def __getitem__(self, field: str) -> JsonNode:
        """A field of an object. Raises TreeError if this is no object or has no such field."""
        fields = self._mapping()
        if field not in fields:
            raise self.flaw("field", f"has no field {field!r}")
        return JsonNode(fields[field], field, self)

    def values(self) -> Iterator[JsonNode]:
        """The fields of an object, each with its name as `key`."""
        return (JsonNode(value, key, self) for key, value in self._mapping().items())

    def items(self) -> list[JsonNode]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            raise self._expected("a list")
        return [JsonNode(value, position, self) for position, value in enumerate(self.value)]

    def text(self) -> str:
        """A string that is not blank."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self._expected("text")
        return self.value

    def whole(self) -> int:
        """A whole number of at least 0."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._expected("a whole number of at least 0")
        return self.value

    def identity(self) -> str:
        """An id, which files write as a number or as text, as text."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | str) or self.value == "":
            raise self._expected("an id")
        return str(self.value)

    def name(self, nested: bool = False) -> str:
        """An id that may become part of a path: this value, see `safe_name`."""
        return self._safe(self.identity(), nested)

    def key_name(self, nested: bool = False) -> str:
        """The same of this value's key."""
        return self._safe(str(self.key), nested)

    def _safe(self, name: str, nested: bool) -> str:
        if not safe_name(name, nested):
            raise self.flaw("path", f"names {reprlib.repr(name)}, which could lead out of the data set's folder")
        return name

    def _mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._expected("an object with fields")
        return self.value

    def _expected(self, what: str) -> DatasetFileError:
        return self.flaw("field", f"must be {what}, not {reprlib.repr(self.value)}")


def read_json(path: Path) -> JsonNode:
    """A JSON file. Raises TreeError if it is missing or broken."""
    return parse_json(read_bytes(path), str(path))


def parse_json(data: bytes, name: str) -> JsonNode:
    """JSON as bytes, called `name` in errors. Raises TreeError if it is broken."""
    try:
        return JsonNode(json.loads(data), name)
    except RecursionError:
        raise DatasetFileError("file", f"{name} is nested too deeply for a data set; download it anew") from None
    except ValueError as error:
        raise DatasetFileError("file", f"{name} is not JSON ({error}); download it anew") from None


def read_lines(
    path: Path, each: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[tuple[int, JsonNode]]:
    """A file of one JSON value a line, those that are not blank, numbered from 1 on.

    each: surrounds the reading of each line, such as `DatasetIssues.skipping`, which goes on after a broken one.
    Raises TreeError if the file is missing or a line of it is broken.
    """
    file = JsonNode(None, str(path))
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        with each():
            if line.strip():
                yield number, JsonNode(parse_json(line, f"{path}, line {number},").value, f"line {number}", file)


def read_bytes(path: Path) -> bytes:
    """A file whole. Raises TreeError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise missing(path, error) from None


def missing(path: Path, error: OSError) -> DatasetFileError:
    """What to say of a file or folder that the system does not give."""
    return DatasetFileError("file", f"{path} cannot be read ({error.strerror}); see docs/benchmarks.md for the layout")


def list_folder(path: Path) -> list[str]:
    """Names in a folder, sorted. Raises TreeError if there is no such folder."""
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise missing(path, error) from None


def safe_name(name: str, nested: bool = False) -> bool:
    """Whether a name can be joined to a folder and stays below it, on any system.

    nested: slashes between the parts of the name are fine, as in names of videos taken from several sources.
    """
    parts = name.split("/") if nested else [name]
    if any(part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part for part in parts):
        return False
    if ntpath.splitdrive(name)[0]:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def shorten(text: str, most: int = 80) -> str:
    """A text from elsewhere, fit for a message of one line."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
