"""The files of a run, without what differs between equal runs: times, and the machine's measurements."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import HarmError

TIMING = re.compile(r"_s$|^seconds$|^timing_s/|_time$|_per_second$|^memory")
"""Names of fields."""


def contents(out: Path) -> dict[str, object]:
    """Returns the content of all files below a folder by their paths; rows as lists. Empty folders count, too.

    Raises HarmError for a file that cannot be read.
    """
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_dir():
            found |= {} if any(path.iterdir()) else {f"{name}/": "empty"}
        else:
            found[name] = _read(path)
    return found


def _read(path: Path) -> object:
    try:
        return READERS.get(path.suffix, Path.read_bytes)(path)
    except ValueError as error:
        raise HarmError("corrupt", f"{path}: {error}") from None


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if not TIMING.search(name)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _json(path: Path) -> Any:
    return _timeless(json.loads(path.read_text("utf-8")))


def _rows(path: Path) -> list[Any]:
    return [_timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _table(path: Path) -> list[Any]:
    with path.open(newline="", encoding="utf-8") as file:
        return [_timeless(row) for row in csv.DictReader(file)]


READERS: dict[str, Callable[[Path], object]] = {".json": _json, ".jsonl": _rows, ".csv": _table}
