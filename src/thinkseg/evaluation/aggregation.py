"""Metrics over the rows of a benchmark, with 95 % confidence intervals.

Most metrics are means over some rows, or means of other metrics. Answers about one video are correlated, so intervals
come from a bootstrap over *videos*: videos are resampled with all their rows, and 95 % of the resampled values lie
between the bounds. The difference of two runs is paired: it uses the rows of both, and the same resampled videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from thinkseg.storage.run_folder import Row

RESAMPLES = 1000

BOUNDS = (2.5, 97.5)
"""Percentiles of the resampled values."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value in percent with its 95 % interval; None if no row has the metric."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.1f}" if self.low is None else f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


class Bootstrap:
    """How often each video counts in each sample of videos: once in the first one, at random in the others.

    weights: float64 (1 + RESAMPLES, V).
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._columns = {video: column for column, video in enumerate(dict.fromkeys(row["video"] for row in rows))}
        count = len(self._columns)
        shares = np.full(count, 1 / max(1, count))
        resampled = (
            np.random.default_rng(0).multinomial(count, shares, RESAMPLES) if count else np.zeros((RESAMPLES, 0))
        )
        self.weights = np.concatenate([np.ones((1, count)), resampled])

    def columns(self, rows: Sequence[Row]) -> np.ndarray:
        """Returns the column of `weights` of each row's video, intp (N,)."""
        return np.array([self._columns[row["video"]] for row in rows], np.intp)

    def sums(self, rows: Sequence[Row], values: Sequence[float]) -> np.ndarray:
        """Returns the sum of the rows' values in each sample of videos, float64 (1 + RESAMPLES,)."""
        return self.weights @ np.bincount(self.columns(rows), values, self.weights.shape[1])


class Metric(Protocol):
    """Computes one metric in each sample of videos."""

    def __call__(self, rows: Sequence[Row], bootstrap: Bootstrap, computed: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float64 (1 + RESAMPLES,) in percent; NaN where no row has the metric.

        computed: the metrics before this one in its `MetricSet`, by name.
        """
        ...


MetricSet = Mapping[str, Metric]
"""Metrics by name, in the order of computation."""

Value = Callable[[Row], float | None]
"""A number of a row; rows with None are skipped."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `value` over the rows that `where` accepts. percent: values are percentages, not fractions."""

    value: Value
    where: Callable[[Row], bool] = lambda row: True
    percent: bool = False

    def __call__(self, rows: Sequence[Row], bootstrap: Bootstrap, computed: Mapping[str, np.ndarray]) -> np.ndarray:
        found, values = _with_values(self.value, filter(self.where, rows))
        if not found:
            return np.full(len(bootstrap.weights), np.nan)
        with np.errstate(invalid="ignore"):
            means = bootstrap.sums(found, values) / bootstrap.sums(found, [1.0] * len(found))
        # The order of summation decides the last bit: this is that of the official evaluators.
        means[0] = np.mean(values)
        return means if self.percent else 100 * means


@dataclass(frozen=True, slots=True)
class Ratio:
    """The sum of `part` over the sum of `total`, over the rows that `where` accepts and that have both."""

    part: Value
    total: Value
    where: Callable[[Row], bool] = lambda row: True

    def __call__(self, rows: Sequence[Row], bootstrap: Bootstrap, computed: Mapping[str, np.ndarray]) -> np.ndarray:
        found, parts = _with_values(self.part, filter(self.where, rows))
        found, totals = _with_values(self.total, found)
        with np.errstate(invalid="ignore"):
            return 100 * bootstrap.sums(found, parts) / bootstrap.sums(found, totals)


@dataclass(frozen=True, slots=True)
class MeanOfMetrics:
    """The mean of other metrics, by name."""

    parts: tuple[str, ...]

    def __call__(self, rows: Sequence[Row], bootstrap: Bootstrap, computed: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.mean([computed[part] for part in self.parts], axis=0)


def compute_metrics(rows: Sequence[Row], metrics: MetricSet) -> dict[str, Estimate]:
    """Returns each metric with its interval."""
    return {name: _estimate(values) for name, values in _resampled(rows, metrics, Bootstrap(rows)).items()}


def difference(first: Sequence[Row], second: Sequence[Row], metrics: MetricSet) -> dict[str, Estimate]:
    """Returns each metric of `second` minus that of `first`; both hold rows of the same expressions in one order."""
    bootstrap = Bootstrap(first)
    before, after = _resampled(first, metrics, bootstrap), _resampled(second, metrics, bootstrap)
    return {name: _estimate(after[name] - before[name]) for name in metrics}


def count_failures(rows: Sequence[Row]) -> dict[str, int]:
    """Returns how many rows have each failure, the most frequent one first."""
    return dict(Counter(row["failure"] for row in rows if row["failure"]).most_common())


def count_repairs(rows: Sequence[Row]) -> tuple[int, dict[str, int]]:
    """Returns how many answers were read after a repair, and how many have each repair, the most frequent one first."""
    repaired = [row["repairs"] for row in rows if row["failure"] is None and row.get("repairs")]
    return len(repaired), dict(Counter(name for names in repaired for name in names).most_common())


def expression_rows(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows of expressions, without those of objects."""
    return [row for row in rows if "object" not in row]


def _with_values(value: Value, rows: Iterable[Row]) -> tuple[list[Row], list[float]]:
    """Returns the rows that have a value, and their values."""
    found = [(row, known) for row in rows if (known := value(row)) is not None]
    return [row for row, _ in found], [known for _, known in found]


def _resampled(rows: Sequence[Row], metrics: MetricSet, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Returns each metric in each sample of videos."""
    computed: dict[str, np.ndarray] = {}
    for name, metric in metrics.items():
        computed[name] = metric(rows, bootstrap, computed)
    return computed


def _estimate(values: np.ndarray) -> Estimate:
    """Returns the first value with bounds from the others; samples of videos without the metric are skipped."""
    value, resampled = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Estimate(None)
    low, high = np.percentile(resampled, BOUNDS)
    return Estimate(float(value), float(low), float(high))
