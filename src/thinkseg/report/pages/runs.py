"""An evaluation as it is on the disk: its rows, its metrics, and what can be drawn of each answer.

In: a folder that `thinkseg evaluate` or `thinkseg score` wrote. Out: a `Run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from thinkseg.chains.frames import sample_indices
from thinkseg.data import BENCHMARKS, open_benchmark
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.readers.json_tree import read_json
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.evaluation.aggregation import Estimate, compute_metrics, expression_rows
from thinkseg.evaluation.old_results import read_results
from thinkseg.evaluation.predictions import MASKS, Masks, Predictions, open_predictions
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.evaluation.scores import nested
from thinkseg.report.pages.pictures import Scene
from thinkseg.storage.fingerprint import changed_parts
from thinkseg.storage.result_folder import finish_interrupted
from thinkseg.storage.run_folder import ROWS, SCORES, Row, read_settings

DEFAULT_SHOWN, MAX_SHOWN = 8, 256
"""Frames of a film strip if a run does not say how many its policy was shown, and the most."""

Metrics = Mapping[str, Mapping[str, Estimate]]
"""Metrics by group and name."""


@dataclass(frozen=True, eq=False)
class Run:
    """An evaluation.

    rows: by id, those of objects included. metrics: of all rows, by the rules of the protocol. skipped: how many
    expressions have no row because of issues of the data set.
    """

    folder: Path
    settings: Mapping[str, Any]
    rows: Mapping[str, Row]
    metrics: Metrics
    protocol: str
    skipped: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def questions(self) -> list[Row]:
        """The rows of expressions."""
        return expression_rows(self.rows.values())

    @property
    def num_shown(self) -> int:
        """How many frames its policy was shown."""
        count = _mapping(self.settings.get("view")).get("num_frames")
        return count if isinstance(count, int) and 1 <= count <= MAX_SHOWN else DEFAULT_SHOWN

    @property
    def benchmark(self) -> str:
        """The name of its benchmark, a key of `BENCHMARKS`."""
        return str(self.settings["data"])

    @property
    def title(self) -> str:
        """The benchmark and its split."""
        return f"{BENCHMARKS[self.benchmark].title}, {self.settings.get('split')}"


def read_run(folder: Path) -> Run:
    """Reads an evaluation. Raises SettingsError if the folder has none, or for a row that is damaged."""
    finish_interrupted(folder)
    settings = read_settings(folder)
    if str(settings.get("data")) not in BENCHMARKS:
        raise SettingsError(f"{folder}: its settings name no data set; give a folder that evaluate or score wrote")
    rows = read_results(folder)
    if not (count := len(expression_rows(rows.values()))):
        raise SettingsError(f"{folder}: no row in {ROWS} yet; run evaluate until it has answered something")
    if stored := _stored_scores(folder, count):
        return Run(folder, settings, rows, *stored)
    protocol = protocol_of(settings["data"], list(rows.values()))
    return Run(
        folder, settings, rows, nested(compute_metrics(list(rows.values()), protocol.metrics)), protocol.rules, 0
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    """Returns an object of JSON; {} for anything else, for settings may be damaged."""
    return value if isinstance(value, dict) else {}


def _stored_scores(folder: Path, count: int) -> tuple[Metrics, str, int] | None:
    """Returns what scores.json says, None if it is missing, damaged, or not about `count` expressions."""
    try:
        scores = read_json(folder / SCORES)
        metrics = TypeAdapter(dict[str, dict[str, Estimate]]).validate_python(scores["metrics"].value, strict=False)
        if scores["expressions"].integer() == count:
            return metrics, scores["protocol"].string(), scores["skipped"].integer()
    except (DatasetError, ValidationError):
        pass
    return None


class RunScenes:
    """What can be drawn of the answers of a run. root: folder of its data set; None for a generated one."""

    def __init__(self, run: Run, root: Path | None) -> None:
        self._run, self._root = run, root

    def of(self, row: Row) -> Scene:
        """Returns the scene of a row's answer.

        Raises SettingsError if the data set is not given or has changed, DatasetError or VideoError if files of it or
        of the masks are missing or damaged.
        """
        benchmark = self._opened(row)
        expression = next((one for one in benchmark.expressions if one.key == row["id"]), None)
        if expression is None:
            raise SettingsError(f"{row['id']}: is not in the data set; give the one of the run with --root")
        known = row.get("fingerprint")  # rows of earlier versions have none
        if known and (changed := changed_parts(known, DataFingerprint(benchmark).of(expression))):
            raise SettingsError(f"{row['id']}: the {changed} changed since the run; give its data set with --root")
        sample = benchmark.sample(expression)
        keyframe = row.get("keyframe")
        if keyframe is not None and keyframe >= len(sample.video):
            raise DatasetError(f"{row['id']}: keyframe {keyframe} is not one of its {len(sample.video)} frames")
        return Scene(
            sample.video,
            keyframe,
            np.array(row.get("boxes", []), np.float32).reshape(-1, 4),
            self._masks(benchmark, expression, sample.video.size_wh) if row["failure"] is None else None,
            sample.truth,
            expression.scored,
            sample_indices(len(sample.video), self._run.num_shown),
        )

    def _masks(self, benchmark: Benchmark, expression: Expression, size_wh: tuple[int, int]) -> Masks | None:
        return self._predictions.of(expression, benchmark.videos[expression.video], size_wh)

    def _opened(self, row: Row) -> Benchmark:
        """The benchmark of the run; of a generated one, the sample of this row alone."""
        name, split = self._run.benchmark, self._run.settings.get("split")
        if not BENCHMARKS[name].generated:
            return self._files
        index = row["video"].rpartition("-")[2]
        if not index.isdecimal() or len(index) > 9:
            raise DatasetError(f"{row['id']}: {row['video']} is no clip of {BENCHMARKS[name].title}")
        weights = _mapping(self._run.settings.get("category_weights"))
        return open_benchmark(name, split=split, start=int(index), limit=1, category_weights=weights)

    @cached_property
    def _files(self) -> Benchmark:
        if self._root is None:
            raise SettingsError("the data set is not given; pass its folder as --root")
        settings = self._run.settings
        return open_benchmark(self._run.benchmark, self._root, settings.get("split"), fps=settings.get("fps"))

    @cached_property
    def _predictions(self) -> Predictions:
        own = self._run.folder / MASKS
        stored = self._run.folder if own.is_dir() else str(self._run.settings.get("predictions", own))
        return open_predictions(stored, self._run.benchmark)
