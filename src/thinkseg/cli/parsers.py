"""Parsers of option values: text in, a value out. They raise ValueError for other text."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from thinkseg.cli.declare import path
from thinkseg.errors import SettingsError
from thinkseg.report.formats import checked_formats
from thinkseg.scale.ray_cluster import AUTO, LOCAL

MAX_INTEGER = 2**32 - 1
"""Largest number, e.g. of a seed. The sizes and counts of a video or a data set are far below."""

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Point = tuple[float, float, int]

Value = TypeVar("Value")

_PLACE = re.compile(r"(.*?)(?:@([0-9.]+s?))?(?:#([0-9]+))?", re.DOTALL)
"""A value, then "@" and a moment, then "#" and the number of an object."""


def count(text: str) -> int:
    """An integer >= 1. Raises ValueError for other text, like all parsers here."""
    return _integer(text, least=1)


def non_negative_int(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, least=0)


def indices(text: str) -> tuple[int, ...]:
    """Different integers >= 0, as in "0,1"."""
    found = tuple(_integer(part, least=0) for part in text.split(","))
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} has a number twice")
    return found


def words(text: str) -> tuple[str, ...]:
    """Arguments as a shell splits them."""
    return tuple(shlex.split(text))


def port(text: str) -> int:
    """A port, or 0."""
    return _integer(text, least=0, most=65_535)


def non_negative(text: str) -> float:
    """A finite number >= 0."""
    value = _number(text)
    if value is None or value < 0:
        raise ValueError(f"{text!r} is not a number >= 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, without 1."""
    value = _number(text)
    if value is None or not 0 <= value < 1:
        raise ValueError(f"{text!r} is not a share; give a number >= 0 and < 1")
    return value


def positive(text: str) -> float:
    """A finite number > 0."""
    value = _number(text)
    if value is None or value <= 0:
        raise ValueError(f"{text!r} is not a number > 0")
    return value


def temperature(text: str) -> float:
    """0, or a number in the range in which sampling is exact."""
    value = _number(text)
    if value is None or not (value == 0 or 1e-3 <= value <= 100):
        raise ValueError(f"{text!r} is not a temperature; give 0, or a number from 0.001 to 100")
    return value


def jpeg_quality(text: str) -> int:
    """An integer from 1 to 100."""
    value = count(text)
    if value > 100:
        raise ValueError(f"{text!r} is not a JPEG quality; give an integer from 1 to 100")
    return value


def device(text: str) -> str:
    """A device as torch names it."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:[0-9]{1,3})?", text):
        raise ValueError(f"{text!r} is not a device; give cpu, cuda or cuda:1")
    return text


def size(text: str) -> Size:
    """(width, height) of "560x420"."""
    from thinkseg.types import MAX_SIDE

    found = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text)
    if not found or max(int(found[1]), int(found[2])) > MAX_SIDE:
        raise ValueError(f"{text!r} is not a size; give width x height, e.g. 560x420, at most {MAX_SIDE} each")
    return int(found[1]), int(found[2])


def box(text: str) -> Box:
    """(x1, y1, x2, y2) of "10,20,110.5,90", with x1 < x2 and y1 < y2."""
    sides = [_number(part) for part in text.split(",")]
    if len(sides) != 4 or any(side is None for side in sides):
        raise ValueError(f"{text!r} is not a box; give x1,y1,x2,y2 in pixels, e.g. 10,20,110,90")
    x1, y1, x2, y2 = (float(side) for side in sides if side is not None)
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"{text!r} has no area; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def moment(text: str) -> int | float:
    """An int, the index of a frame ("57"), or a float, a time in seconds ("2.4s")."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    seconds = _number(text.removesuffix("s")) if text.endswith("s") else None
    if seconds is None or seconds < 0:
        raise ValueError(f"{text!r} is not a moment; give a time like 2.4s, or a frame index like 57")
    return seconds


@dataclass(frozen=True, slots=True)
class Placed(Generic[Value]):
    """A value that is about an object on a frame. moment, number: None if they are not stated; numbers start at 1."""

    value: Value
    moment: int | float | None
    number: int | None
    text: str


def placed_box(text: str) -> Placed[Box]:
    """A box, and where it is: "10,20,110,90", "10,20,110,90@2.4s" or "10,20,110,90@57#2"."""
    return _placed(text, box)


def placed_point(text: str) -> Placed[Point]:
    """A point (x, y, label), and where it is, as a box: "55,60" is on the object (1), "55,60,-" beside it (0)."""
    return _placed(text, _point)


def placed_mask(text: str) -> Placed[Path]:
    """The path of an image, and where its masks are, as a box."""
    return _placed(text, path)


def _placed(text: str, parser: Callable[[str], Value]) -> Placed[Value]:
    value, when, number = _PLACE.fullmatch(text).groups()  # type: ignore[union-attr]
    return Placed(parser(value), moment(when) if when else None, count(number) if number else None, text)


def _point(text: str) -> Point:
    position, _, sign = text.rpartition(",") if text.endswith((",-", ",+")) else (text, "", "+")
    numbers = [_number(part) for part in position.split(",")]
    if len(numbers) != 2 or None in numbers:
        raise ValueError(f"{text!r} is not a point; give x,y on the object or x,y,- beside it, e.g. 55,60@2.4s#1")
    x, y = (float(number) for number in numbers if number is not None)
    return x, y, int(sign == "+")


def ray_address(text: str) -> str:
    """Where a cluster of Ray is; "local", a Ray of our own, without a value."""
    if text in ("", LOCAL, AUTO):
        return text or LOCAL
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:]+\]", host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not an address; give HOST:PORT of the head, such as node0:6379, auto or local")
    return text


def gpus(text: str) -> float:
    """GPUs of a process: a share of one, or an integer."""
    value = _number(text)
    if value is None or value < 0 or (value > 1 and not value.is_integer()):
        raise ValueError(f"{text!r} is not a number of GPUs; give a share such as 0.5, or an integer")
    return value


def output(text: str) -> Path:
    """The path of a file or folder to write."""
    if not text:
        raise ValueError("is empty; give a path, '.' for the current folder")
    if text.startswith("~"):
        raise ValueError(f"{text!r} starts with ~, which the shell did not expand; give the full path, or ./{text}")
    return Path(text)


def formats(text: str) -> tuple[str, ...]:
    """Names of formats of masks, separated by commas."""
    try:
        return checked_formats(name.strip() for name in text.split(","))
    except SettingsError as error:
        raise ValueError(str(error).removeprefix("format: ")) from None


def _integer(text: str, least: int, most: int = MAX_INTEGER) -> int:
    if not re.fullmatch(r"[0-9]+", text) or (len(text) < 20 and int(text) < least):
        raise ValueError(f"{text[:40]!r} is not an integer >= {least}")
    if len(text) > 10 or int(text) > most:
        raise ValueError(f"{text[:40]!r} is too large; give at most {most}")
    return int(text)


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
