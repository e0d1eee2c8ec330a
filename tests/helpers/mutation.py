"""Random damage to bytes, texts and JSON values. All functions are pure functions of their arguments and `rng`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Change = Callable[[Random, bytes], bytes]

RAW = {
    "@deep list@": "[" * 100_000 + "]" * 100_000,
    "@deep object@": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@open list@": "[" * 100_000,
    "@900 levels@": "[" * 900 + "]" * 900,
    "@5000 digits@": "9" * 5000,
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@exponent@": "1e999999",
    "@tiny@": "1e-999999",
    "@minus zero@": "-0",
}
"""JSON that `json.dumps` cannot write, by the string that stands for it."""

MAX_CHARS = 2 << 20
"""Repeating a long text a thousand times would test the patience only."""

SCALARS = [None, True, False, 0, 1, -1, 2, 7, 255, 10**9, 2**31, 2**63, 10**12, 10**30, -(10**18), 10**400]
NUMBERS = [0.0, -0.0, 0.5, 1.0, 1.5, 1e-320, 1e15, 1e300, -1e300, float("nan"), float("inf")]
TEXTS = [
    "",
    " ",
    "0",
    "1",
    "00000",
    "null",
    "é",
    "日本",
    "\0",
    "\n",
    "\x85",
    "\u2028",
    "\x1b[2J",
    "\ud800",
    "..",
    "../..",
    "/",
    "C:\\x",
]
LONG_TEXTS = ["x" * 300, "x" * 5000, "d" * 100_000, "a/" * 200 + "a", "9" * 5000]
CONTAINERS: list[Any] = [
    [],
    {},
    [[]],
    [{}],
    {"": None},
    [None],
    {"size": [4, 5], "counts": "d"},
    [0, 0, 0, 0],
    [[0, 1]],
]
VALUES: list[Any] = [*SCALARS, *NUMBERS, *TEXTS, *LONG_TEXTS, *CONTAINERS, *RAW]

TOKENS = [
    *"0123456789-+.eE[]{}(),:;\"'\\/ \n\t<>#&*!|%@`",
    "null",
    "true",
    "NaN",
    "1e999",
    "</think>",
    "<answer>",
    "```",
]
TOKENS += [
    "\0",
    "\x85",
    "\u200b",
    "\ufeff",
    "\ud800",
    "\U0001f600",
    "é",
    "٣",
    "Infinity",
    "9" * 400,
    "\r\n",
    "1_000",
    "0x1f",
]


class Repeated(dict[str, Any]):
    """An object that is written with each of its fields twice."""

    def items(self) -> Any:
        return [*super().items(), *super().items()]


def mutated_bytes(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """Returns data with one to four changes. other: data of the same kind, parts of which may be inserted."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = rng.choice(BYTE_CHANGES)(rng, data) if not other or rng.random() < 0.9 else spliced(rng, data, other)
    return data


def spliced(rng: Random, data: bytes, other: bytes) -> bytes:
    """Returns the start of one and the end of the other."""
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _flip_bits(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 4, 40]) if data else 0):
        changed[_position(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: Random, data: bytes) -> bytes:
    number = rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 60_000, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000])
    written = number.to_bytes(
        rng.choice([size for size in (1, 2, 4, 8) if number < 1 << 8 * size]), rng.choice(["big", "little"])
    )
    at = _position(rng, data)
    return data[:at] + written + data[at + len(written) :]


def _position(rng: Random, data: bytes) -> int:
    """Returns a position, in the header half of the time."""
    return rng.randrange(max(1, min(len(data), rng.choice([64, 512, len(data), len(data)]))))


def _range(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice([1, 4, 16, 100, 1000, len(data)]))


def _delete(rng: Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + data[end:]


def _double(rng: Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:end] + data[start:end] * rng.choice([1, 1, 3]) + data[end:]


def _zero(rng: Random, data: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + bytes([rng.choice([0, 0, 255])]) * (end - start) + data[end:]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 8, 100])) + data[at:]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


BYTE_CHANGES: list[Change] = [
    _flip_bits,
    _flip_bits,
    _overwrite,
    _overwrite,
    _delete,
    _double,
    _zero,
    _insert,
    _truncate,
]


def mutated_text(rng: Random, text: str) -> str:
    """Returns text with a few characters removed, doubled or replaced by tokens, or cut or moved."""
    chars = list(text)
    for _ in range(rng.choice([1, 1, 2, 6])):
        at = rng.randint(0, len(chars))
        kind = rng.randrange(6)
        if kind == 0:
            chars[at : at + rng.choice([1, 1, 5, 50])] = []
        elif kind == 1:
            part = chars[at : at + rng.choice([1, 10, 100])]
            chars[at:at] = part * rng.choice([1, 1, 2, 50])
        elif kind == 2:
            chars = chars[:at]
        elif kind == 3:
            start = rng.randint(0, len(chars))
            chars[at:at] = chars[start : start + 20]
        else:
            chars[at : at + rng.randrange(2)] = [rng.choice(TOKENS)]
    return "".join(chars)


def mutated_json(rng: Random, value: Any) -> Any:
    """Returns a copy of a JSON value with one to three of its values replaced, removed, renamed, moved or repeated."""
    holder = [copy.deepcopy(value)]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(holder))
        container, key = rng.choice(places)
        other, other_key = rng.choice(places)
        rng.choice(JSON_CHANGES)(rng, container, key, copy.deepcopy(other[other_key]))
    return holder[0]


def _places(container: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(container) if isinstance(container, dict) else range(len(container))
    for key in keys:
        yield container, key
        if isinstance(container[key], dict | list):
            yield from _places(container[key])


def _replace(rng: Random, container: Any, key: Any, other: Any) -> None:
    container[key] = copy.deepcopy(rng.choice(VALUES))


def _replace_by_other(rng: Random, container: Any, key: Any, other: Any) -> None:
    container[key] = other


def _remove(rng: Random, container: Any, key: Any, other: Any) -> None:
    if isinstance(container, dict) or len(container) > 1:
        del container[key]


def _rename(rng: Random, container: Any, key: Any, other: Any) -> None:
    if isinstance(container, dict):
        container[rng.choice([*TEXTS, *LONG_TEXTS, mutated_text(rng, key)])] = container.pop(key)


def _repeat(rng: Random, container: Any, key: Any, other: Any) -> None:
    value = container[key]
    if isinstance(value, dict):
        container[key] = Repeated(value)
    elif isinstance(value, list):
        container[key] = value * rng.choice([2, 2, 100])
    else:
        container[key] = [value, value]


def _wrap(rng: Random, container: Any, key: Any, other: Any) -> None:
    container[key] = rng.choice([[container[key]], {"value": container[key]}, str(container[key])])


def _shift(rng: Random, container: Any, key: Any, other: Any) -> None:
    value = container[key]
    if isinstance(value, str):
        container[key] = mutated_text(rng, value)
    elif isinstance(value, int | float) and abs(value) < 1e300:
        container[key] = rng.choice([value + 1, value - 1, -value, float(value), str(value), value + 0.5])
    elif isinstance(value, list):
        rng.shuffle(value)


JSON_CHANGES = [_replace, _replace, _replace, _replace_by_other, _remove, _rename, _repeat, _wrap, _shift, _shift]


def written_json(value: Any) -> bytes:
    """Writes a value of `mutated_json` as JSON text, cut after `MAX_CHARS`; lone surrogates stay escaped."""
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text[:MAX_CHARS].encode()


def mutated_json_file(rng: Random, data: bytes) -> bytes:
    """Returns JSON text with damage to its values, or to its bytes."""
    try:
        changed = written_json(mutated_json(rng, json.loads(data)))
    except (ValueError, RecursionError):  # damaged already
        return mutated_bytes(rng, data)
    return mutated_bytes(rng, data) if rng.random() < 0.15 else changed


def mutated_lines(rng: Random, data: bytes) -> bytes:
    """Returns JSON Lines with damage to one line, to the lines' order, or to the bytes."""
    lines = data.splitlines() or [b""]
    at = rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        return mutated_bytes(rng, data)
    if kind == 1:
        lines.insert(rng.randint(0, len(lines)), rng.choice([lines[at], b"", b"null", b"[]", b"{}", b"\xff"]))
    else:
        lines[at] = mutated_json_file(rng, lines[at])
    return b"\n".join(lines) + b"\n"
