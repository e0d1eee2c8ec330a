"""mask_dict.json without loading it: a JSON object of any size in, single values of it out.

    masks = MaskFile(root / "mask_dict.json", opens="[")
    "14" in masks                       whether there is an annotation 14
    masks["14"].items()[3].value        its mask in frame 3, as the file has it

These files hold the masks of a whole benchmark, up to a gigabyte, and loaded they would fill several. A mask is wanted
now and then. So the file is walked through once, when the first one is asked for, to note where the value of each key
begins and ends; that takes about a second a gigabyte, and a few hundred bytes a key. A value is then read and parsed by
itself. What is kept can be copied to other processes.

How keys are told from what is inside values: a quote, a colon, the bracket given by `opens`, and what only a list of
objects and nulls goes on with stand after an outer key. Inside the values no field holds such a thing, and run lengths
cannot look like it: they are written with the characters from "0" to "o", among which are colons and square brackets,
but no quotes, commas or braces, and no "u".
"""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Literal

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, missing, parse_json, shorten

_KEY_ENDS = {
    "[": re.compile(rb'"\s*:\s*(?=\[\s*(?:\{|null|\]\s*[,}]))'),
    "{": re.compile(rb'"\s*:\s*(?=\{)'),
}
"""From the closing quote of an outer key up to its value, which is a list of objects and nulls, or an object."""

_MOST_BETWEEN = 4096
"""Bytes between two values; a file with more is another kind of file, which is not worth reading further."""


class MaskFile:
    """A large JSON object, whose values are all lists of objects and nulls, or all objects.

    opens: the bracket that values begin with. Nothing is read before the first question. Raises TreeError if the file
    cannot be read or is not such an object.
    """

    def __init__(self, path: Path, opens: Literal["[", "{"]) -> None:
        self.path = path
        self._opens = opens
        self._found: dict[str, tuple[int, int]] | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._spans

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, key: str) -> JsonNode:
        """The value of a key. Raises TreeError if there is none, or it is broken."""
        if key not in self._spans:
            raise DatasetFileError("id", f"{self.path} has no {shorten(key)!r}")
        start, end = self._spans[key]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(end - start)
        except OSError as error:
            raise missing(self.path, error) from None
        return parse_json(data, f"{self.path}: {shorten(key)}")

    @property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """Where the value of each key begins and ends in the file."""
        if self._found is None:
            self._found = self._scan()
        return self._found

    def _scan(self) -> dict[str, tuple[int, int]]:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size == 0:
                    raise self._broken("is empty")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return self._walk(data, size)
        except OSError as error:
            raise missing(self.path, error) from None

    def _walk(self, data: mmap.mmap, size: int) -> dict[str, tuple[int, int]]:
        spans: dict[str, tuple[int, int]] = {}
        name, begin = "", -1
        for match in _KEY_ENDS[self._opens].finditer(data):
            quote = _opening_quote(data, match.start())
            if begin < 0:
                self._check_between(data, 0, quote, b"{")
            else:
                spans[name] = begin, self._value_end(data, begin, quote, b",")
            name, begin = self._key(data[quote : match.start() + 1]), match.end()
        if begin < 0:
            self._check_between(data, 0, size, b"{}")
        else:
            spans[name] = begin, self._value_end(data, begin, size, b"}")
        return spans

    def _value_end(self, data: mmap.mmap, begin: int, end: int, mark: bytes) -> int:
        """The end of a value that `mark` and spaces follow before position `end`."""
        at = data.rfind(mark, begin, end)
        if at < 0:
            raise self._broken("is cut short")
        self._check_between(data, at, end, mark)
        return at

    def _check_between(self, data: mmap.mmap, begin: int, end: int, expected: bytes) -> None:
        """What stands between values must be this and some spaces."""
        if end - begin > _MOST_BETWEEN or b"".join(data[begin:end].split()) != expected:
            raise self._broken("is not the JSON object it should be")

    def _key(self, quoted: bytes) -> str:
        try:
            return json.loads(quoted)
        except ValueError:
            raise self._broken("has a key that is not text") from None

    def _broken(self, how: str) -> DatasetFileError:
        return DatasetFileError("file", f"{self.path} {how}; download it anew")


def _opening_quote(data: mmap.mmap, closing: int) -> int:
    """Where the string begins that ends at `closing`; -1, which no check lets through, if it does not begin."""
    at = closing
    while at >= 0:
        at = data.rfind(b'"', 0, at)
        before = at
        while before > 0 and data[before - 1] == ord("\\"):
            before -= 1
        if (at - before) % 2 == 0:
            break
    return at
