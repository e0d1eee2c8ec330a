"""The ground truth of a benchmark scored as if it were a prediction: J and F must be 100."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.check import check_mask_images
from thinkseg.errors import one_line
from thinkseg.evaluation.aggregation import expression_rows
from thinkseg.evaluation.offline import score
from thinkseg.evaluation.predictions import Masks, PngPredictions, write_pngs
from thinkseg.storage.run_folder import Row

MAX_LISTED = 20
"""Rows below 100 that `Validation.describe` lists."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The scores of the ground truth.

    known: expressions with ground truth. unknown: those without. skipped: those with an issue in the data set.
    imperfect: rows below 100, of expressions, and of the objects that expressions describe.
    empty: ids of expressions with a target that no mask shows in the scored frames, which scores 100 all the same.
    """

    known: int
    unknown: int
    skipped: int
    imperfect: Sequence[Row]
    empty: Sequence[str] = ()

    def describe(self) -> str:
        """Returns the counts and the first imperfect rows as text for a terminal."""
        lines = [
            f"{one_line(row['id'])}: J {100 * row['j']:.2f}, F {100 * row['f']:.2f}"
            + (f": {one_line(row['query'])}" if "query" in row else "")
            for row in self.imperfect[:MAX_LISTED]
        ]
        perfect = self.known - len(expression_rows(self.imperfect))
        lines.append(f"J and F are 100 for {perfect} of {self.known} expressions with ground truth")
        if self.empty:
            lines.append(f"no mask shows the target of {len(self.empty)} expressions, first {self.empty[0]}")
        if self.unknown or self.skipped:
            lines.append(f"not scored: {self.unknown} without ground truth, {self.skipped} with issues")
        return "\n".join(lines)


def validate(benchmark: Benchmark, workers: int = 1, on_row: Callable[[Row, int], None] | None = None) -> Validation:
    """Scores the ground truth; arguments and errors are those of `thinkseg.evaluation.offline.score`.

    The values of mask images are checked first, as `thinkseg.data.check.check` does.
    """
    check_mask_images(benchmark)
    rows = score(benchmark, TruthAsPng(benchmark), workers, on_row)
    scored = [row for row in rows if row["j"] is not None]
    known, expressions = len(expression_rows(scored)), len(expression_rows(rows))
    imperfect = [row for row in scored if (row["j"], row["f"]) != (1.0, 1.0) and _is_predicted(benchmark, row)]
    empty = [row["id"] for row in expression_rows(scored) if row["has_target"] and row["is_empty"]]
    return Validation(known, expressions - known, len(benchmark.expressions) - expressions, imperfect, empty)


@dataclass(frozen=True, slots=True)
class TruthAsPng:
    """The ground truth as predictions (`Predictions`): mask images of the scored frames, written and read back."""

    benchmark: Benchmark

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        truth = self.benchmark.truth(expression, size_wh)
        if truth is None:
            return None
        folder = tempfile.TemporaryDirectory(prefix="thinkseg-")
        write_pngs(truth, expression.scored, video, Path(folder.name) / expression.folders[0])
        masks = PngPredictions(Path(folder.name)).of(expression, video, size_wh)
        return None if masks is None else _TemporaryMasks(masks, folder)


@dataclass(frozen=True, slots=True)
class _TemporaryMasks:
    """Masks with their folder, which is deleted with this object."""

    masks: Masks
    folder: tempfile.TemporaryDirectory[str]

    def union(self, frame: int) -> np.ndarray:
        return self.masks.union(frame)


def _is_predicted(benchmark: Benchmark, row: Row) -> bool:
    """An object that no expression of its annotation run describes has no prediction."""
    return "object" not in row or any(
        (expression.video, expression.annotation_run) == (row["video"], row["annotation_run"])
        and str(row["object"]) in (expression.objects or ())
        for expression in benchmark.expressions
    )
