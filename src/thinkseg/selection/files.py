"""The file of a selection: which expressions of one split of a benchmark are used.

    {"data": "revos", "split": "train", "seed": 0, "balance": "proportional", "no_target_share": 0.0,
     "strata": {"available": {"referring, single": 12000, ...}, "drawn": {...}}, "trackable": null,
     "fingerprint": "9f2c64d1a0b35e78", "version": "0.1.0", "expressions": ["clip/0", "clip/3"]}

"fingerprint" is that of the selected expressions and their files (`thinkseg.data.benchmarks.fingerprint`). Only "data",
"split", "fingerprint" and "expressions" are read again; the others state how the selection was made.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from reprlib import repr
from typing import Any

import thinkseg
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.readers.json_tree import read_json
from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replacing
from thinkseg.storage.fingerprint import text_fingerprint
from thinkseg.storage.outputs import writing

SELECT = "select"
"""Key in the settings of a benchmark, whose value is the fingerprint of the ids selected."""


def write_selection(benchmark: Benchmark, keys: Collection[str], how: Mapping[str, Any], path: Path) -> None:
    """Writes the selection of the expressions with these keys. how: states how it was made; plain JSON values.

    Raises SettingsError if there are none, or the file cannot be written.
    """
    if not keys:
        raise SettingsError(f"{benchmark.name}, split {benchmark.split!r}: no expression is selected; nothing to write")
    chosen = restricted(benchmark, set(keys))
    content = {
        "data": benchmark.name,
        "split": benchmark.split,
        **how,
        "fingerprint": DataFingerprint(chosen).of_all(),
        "version": thinkseg.__version__,
        "expressions": [one.key for one in chosen.expressions],
    }
    with writing(path), replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def select(benchmark: Benchmark, path: str | Path) -> Benchmark:
    """Returns the benchmark with the expressions that a file selects; its settings have their fingerprint.

    Raises DatasetError for an invalid file, and SettingsError for the selection of another data set or split, or of
    data that have changed since.
    """
    content = read_json(Path(path))
    data, split = content["data"].text(), content["split"].text()
    here = f"{benchmark.name}, split {benchmark.split!r}"
    if (data, split) != (benchmark.name, benchmark.split):
        there = f"{repr(data)}, split {repr(split)}"
        raise SettingsError(f"{path}: selects from {there}, not from {here}; draw another one")
    keys = {entry.text() for entry in content["expressions"].items()}
    if not keys:
        raise SettingsError(f"{path}: selects no expression; draw another one")
    if unknown := sorted(keys - {one.key for one in benchmark.expressions}):
        raise SettingsError(
            f"{path}: {len(unknown)} of {len(keys)} expressions are not in {here}, such as {repr(unknown[0])}; draw"
            " another one"
        )
    selected = restricted(benchmark, keys)
    if DataFingerprint(selected).of_all() != content["fingerprint"].text():
        raise SettingsError(f"{path}: {here} is another one, or has changed since the selection; draw another one")
    return selected


def restricted(benchmark: Benchmark, keys: Collection[str]) -> Benchmark:
    """Returns the benchmark with the expressions of these keys; its settings have their fingerprint."""
    chosen = tuple(one for one in benchmark.expressions if one.key in keys)
    names = {one.video for one in chosen}
    return replace(
        benchmark,
        videos={name: video for name, video in benchmark.videos.items() if name in names},
        expressions=chosen,
        settings={**benchmark.settings, SELECT: text_fingerprint(*(one.key for one in chosen))},
    )
