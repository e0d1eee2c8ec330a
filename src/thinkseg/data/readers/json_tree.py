"""Checked access to untrusted JSON files, and paths that stay below the root.

    videos = read_json(root / "meta.json")["videos"]
    for video in videos.values():
        video.key_name(nested=True)     "clips/7", checked to be a path below the root
        video["width"].integer()        854, or an error: meta.json: videos > clips/7 > width must be an integer >= 0

Files of a data set may be damaged or malicious. Each value is as documented, or raises a `DatasetFileError` with file
and field.
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

from thinkseg.data.readers.issues import DatasetFileError, IssueKind

MAX_NAME_BYTES, MAX_PATH_BYTES = 240, 1000
"""File systems accept 255 bytes and 4096. The rest is for suffixes and for the folder."""

LARGEST = 1e9
"""Largest number: of pixels, seconds."""


class JsonNode:
    """A value of a JSON file with its path in that file.

    value: the parsed value. key: the field's name or the position in a list; for a complete file, its path.
    """

    __slots__ = ("key", "parent", "value")

    def __init__(self, value: Any, key: str | int, parent: JsonNode | None = None) -> None:
        self.value = value
        self.key = key
        self.parent = parent

    @property
    def where(self) -> str:
        """The position as text: "file: field > field"."""
        steps: list[str] = []
        node: JsonNode | None = self
        while node is not None:
            steps.append(str(node.key))
            node = node.parent
        path, *fields = reversed(steps)
        return f"{path}: {' > '.join(map(shorten, fields))}" if fields else path

    def error(self, kind: IssueKind, what: str) -> DatasetFileError:
        """Returns an error about this value: its position, then `what`."""
        return DatasetFileError(kind, f"{self.where} {what}")

    def __contains__(self, field: str) -> bool:
        return field in self._mapping()

    def __getitem__(self, field: str) -> JsonNode:
        """Returns a field of an object. Raises DatasetFileError for a missing field, or if this is not an object."""
        fields = self._mapping()
        if field not in fields:
            raise self.error("invalid_field", f"has no field {field!r}")
        return JsonNode(fields[field], field, self)

    def values(self) -> Iterator[JsonNode]:
        """Yields the fields of an object, each with its name as `key`."""
        return (JsonNode(value, key, self) for key, value in self._mapping().items())

    def items(self) -> list[JsonNode]:
        """Returns the entries of a list."""
        if not isinstance(self.value, list):
            raise self._expected("a list")
        return [JsonNode(value, position, self) for position, value in enumerate(self.value)]

    def text(self) -> str:
        """Returns a string that is not blank."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self._expected("text")
        return self.value

    def string(self) -> str:
        """Returns a string that may be empty."""
        if not isinstance(self.value, str):
            raise self._expected("text")
        return self.value

    def boolean(self) -> bool:
        """Returns true or false."""
        if not isinstance(self.value, bool):
            raise self._expected("true or false")
        return self.value

    def integer(self) -> int:
        """Returns an integer >= 0."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._expected("an integer >= 0")
        return self.value

    def number(self, least: float = -LARGEST, most: float = LARGEST) -> float:
        """Returns a number in a range."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not least <= self.value <= most:
            raise self._expected(f"a number from {least:g} to {most:g}, not {self.value!r}")
        return float(self.value)

    def id_text(self) -> str:
        """Returns an id as text; files write ids as numbers or as text."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | str) or self.value == "":
            raise self._expected("an id")
        return str(self.value)

    def name(self, nested: bool = False) -> str:
        """Returns this value as an id that is safe in a path; see `is_safe_name`."""
        return self._safe(self.id_text(), nested)

    def key_name(self, nested: bool = False) -> str:
        """Returns the key as an id that is safe in a path."""
        return self._safe(str(self.key), nested)

    def _safe(self, name: str, nested: bool) -> str:
        if not is_safe_name(name, nested):
            raise self.error(
                "unsafe_path",
                f"names {reprlib.repr(name)}, which could lead out of the data set's folder, or is too long",
            )
        return name

    def _mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self._expected("an object with fields")
        return self.value

    def _expected(self, what: str) -> DatasetFileError:
        return self.error("invalid_field", f"must be {what}, not {reprlib.repr(self.value)}")


def read_json(path: Path) -> JsonNode:
    """Reads a JSON file. Raises DatasetFileError if it is missing or invalid."""
    return parse_json(read_bytes(path), str(path))


def parse_json(data: bytes, name: str) -> JsonNode:
    """Parses JSON; `name` stands for it in errors. Raises DatasetFileError if it is invalid."""
    try:
        return JsonNode(json.loads(data), name)
    except RecursionError:
        raise DatasetFileError("invalid_file", f"{name}: nested too deeply for a data set; download it again") from None
    except ValueError as error:
        raise DatasetFileError("invalid_file", f"{name}: not JSON ({error}); download it again") from None


def read_lines(
    path: Path, each: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[tuple[int, JsonNode]]:
    """Yields the values of a JSON Lines file with their line numbers from 1 on; skips blank lines.

    each: context manager around the reading of each line, such as `DatasetIssues.skipping`, which skips invalid lines.
    Raises DatasetFileError if the file is missing or a line is invalid.
    """
    file = JsonNode(None, str(path))
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        with each():
            if line.strip():
                yield number, JsonNode(parse_json(line, f"{path}, line {number}").value, f"line {number}", file)


def read_bytes(path: Path) -> bytes:
    """Reads a complete file. Raises DatasetFileError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DatasetFileError:
    """Returns the error for a file or folder that cannot be opened."""
    return DatasetFileError(
        "invalid_file", f"{path}: cannot be read ({error.strerror}); expected the layout in docs/benchmarks.md"
    )


def list_folder(path: Path) -> list[str]:
    """Returns the names in a folder, sorted. Raises DatasetFileError if the folder is missing."""
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise unreadable(path, error) from None


def is_safe_name(name: str, nested: bool = False) -> bool:
    """Whether a name joined to a folder stays below that folder, on any operating system, and is not too long.

    nested: allow slashes between parts of the name, as in names of videos from several sources.
    """
    parts = name.split("/") if nested else [name]
    if any(part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part for part in parts):
        return False
    if ntpath.splitdrive(name)[0]:
        return False
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return len(encoded) <= MAX_PATH_BYTES and max(map(len, encoded.split(b"/"))) <= MAX_NAME_BYTES


def shorten(text: str, limit: int = 80) -> str:
    """Truncates a text from a file for a one-line message."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
