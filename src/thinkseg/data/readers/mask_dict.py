"""Random access to values of a large JSON object, such as mask_dict.json, without loading the file.

    masks = MaskFile(root / "mask_dict.json", opens="[")
    "14" in masks                       whether annotation 14 exists
    masks["14"].items()[3].value        its mask in frame 3, as written in the file

These files hold the masks of a whole benchmark, up to 1 GB on disk and several GB once loaded, of which few are used
at a time. The first access scans the file once for the byte range of each value: about one second per GB, and a few
hundred bytes of memory per key. Each value is then read and parsed separately. A pickled copy keeps the byte ranges.

The scan finds outer keys by the text after them: a quote, a colon, the bracket `opens`, and a token that only a list of
objects and nulls continues with. No field inside a value looks like this. RLE strings cannot: they consist of the
characters from "0" to "o", which include colons and square brackets, but no quotes, commas, braces or "u".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, parse_json, shorten, unreadable
from thinkseg.storage.fingerprint import file_fingerprint

_KEY_ENDS = {
    "[": re.compile(rb'"\s*:\s*(?=\[\s*(?:\{|null|\]\s*[,}]))'),
    "{": re.compile(rb'"\s*:\s*(?=\{)'),
}
"""Matches from the closing quote of an outer key to its value: a list of objects and nulls, or an object."""

_MAX_GAP = 4096
"""Bytes between two values; a file with more has another format, and the scan stops."""

_WINDOW = 8 << 20
"""Bytes that are searched at a time. They are read, not mapped: a mapped file that shrinks kills the process."""


class MaskFile:
    """A large JSON object whose values are all lists of objects and nulls, or all objects.

    opens: the bracket that values begin with. The first access reads the file. Every access raises DatasetFileError if
    the file cannot be read or has another format.
    """

    def __init__(self, path: Path, opens: Literal["[", "{"]) -> None:
        self.path = path
        self._opens = opens
        self._scanned: dict[str, tuple[int, int]] | None = None
        self._scanned_stat: tuple[int, int] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the file, see `thinkseg.storage.fingerprint`."""
        return file_fingerprint(self.path)

    def __contains__(self, key: str) -> bool:
        return key in self._spans

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, key: str) -> JsonNode:
        """Reads the value of a key. Raises DatasetFileError for an unknown key or an invalid value."""
        if key not in self._spans:
            raise DatasetFileError("unknown_id", f"{self.path}: no entry {shorten(key)!r}")
        start, end = self._spans[key]
        try:
            with self.path.open("rb") as file:
                if _size_and_time(file) != self._scanned_stat:
                    raise DatasetFileError(
                        "invalid_file", f"{self.path}: has changed since the data set was opened; start again"
                    )
                file.seek(start)
                data = file.read(end - start)
        except OSError as error:
            raise unreadable(self.path, error) from None
        return parse_json(data, f"{self.path}: {shorten(key)}")

    @property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """The byte range of each value."""
        if self._scanned is None:
            self._scanned = self._scan()
        return self._scanned

    def _scan(self) -> dict[str, tuple[int, int]]:
        try:
            with self.path.open("rb") as file:
                self._scanned_stat = _size_and_time(file)
                return self._find_spans(_Bytes(file))
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _find_spans(self, data: _Bytes) -> dict[str, tuple[int, int]]:
        if data.size == 0:
            raise self._invalid("empty file")
        spans: dict[str, tuple[int, int]] = {}
        name, begin = "", -1
        for key, end in data.find(_KEY_ENDS[self._opens]):
            before = data.read(max(0, key - _MAX_GAP), key + 1)
            quote = key + 1 - len(before) + _opening_quote(before)
            if begin < 0:
                self._check_gap(data, 0, quote, b"{")
            else:
                spans[name] = begin, self._value_end(data, begin, quote, b",")
            name, begin = self._key(data.read(quote, key + 1)), end
        if begin < 0:
            self._check_gap(data, 0, data.size, b"{}")
        else:
            spans[name] = begin, self._value_end(data, begin, data.size, b"}")
        return spans

    def _value_end(self, data: _Bytes, begin: int, end: int, mark: bytes) -> int:
        """Returns the end of a value: only `mark` and spaces follow it before position `end`."""
        start = max(begin, end - _MAX_GAP)
        at = data.read(start, end).rfind(mark)
        if at < 0:
            raise self._invalid("truncated file")
        self._check_gap(data, start + at, end, mark)
        return start + at

    def _check_gap(self, data: _Bytes, begin: int, end: int, expected: bytes) -> None:
        """Raises DatasetFileError unless the text between two values is `expected` and spaces."""
        if end - begin > _MAX_GAP or b"".join(data.read(begin, end).split()) != expected:
            raise self._invalid("not a JSON object of masks")

    def _key(self, quoted: bytes) -> str:
        try:
            return json.loads(quoted)
        except ValueError:
            raise self._invalid("a key is not text") from None

    def _invalid(self, what: str) -> DatasetFileError:
        return DatasetFileError("invalid_file", f"{self.path}: {what}; download it again")


def _size_and_time(file: IO[bytes]) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns


class _Bytes:
    """The bytes of an open file by position."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read(self, start: int, end: int) -> bytes:
        """Returns the bytes from `start` to before `end`; fewer if the file has become shorter."""
        self._file.seek(max(start, 0))
        return self._file.read(max(end - start, 0))

    def find(self, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
        """Yields the start and end of each match that is at most `_MAX_GAP` long, with what it looks ahead at."""
        for start in range(0, self.size, _WINDOW):
            window = self.read(start, start + _WINDOW + _MAX_GAP)
            for match in pattern.finditer(window):
                if match.start() >= _WINDOW:
                    break
                yield start + match.start(), start + match.end()


def _opening_quote(text: bytes) -> int:
    """Returns the start of the string that ends with `text`; -1, which every check refuses, if it has none."""
    at = len(text) - 1
    while at >= 0:
        at = text.rfind(b'"', 0, at)
        before = at
        while before > 0 and text[before - 1] == ord("\\"):
            before -= 1
        if (at - before) % 2 == 0:
            break
    return at
