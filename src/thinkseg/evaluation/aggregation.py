"""What the rows of a benchmark come to: figures with their uncertainty, as values and as a table.

A figure is most often a mean over some of the rows, or the mean of other figures. How sure it is depends on how many
*videos* there are, more than on how many questions: answers about one video are right or wrong together. So intervals
are made by drawing videos, with all their rows, again and again (a bootstrap over clusters): 95 % of what comes out is
between the bounds. Two runs are compared on the rows that both have, with the same videos drawn for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from thinkseg.storage.run_folder import Row

DRAWS = 1000
"""How often videos are drawn."""

BOUNDS = (2.5, 97.5)
"""Percentiles of what is drawn."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with the bounds of its 95 % interval; None where there is nothing to measure it on."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.1f}" if self.low is None else f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


class Bootstrap:
    """How often each video counts: once in the first draw, and at random in the others.

    weights: float64 (1 + DRAWS, V), for each draw and video.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._numbers = {video: number for number, video in enumerate(dict.fromkeys(row["video"] for row in rows))}
        count = len(self._numbers)
        chance = np.full(count, 1 / max(1, count))
        drawn = np.random.default_rng(0).multinomial(count, chance, DRAWS) if count else np.zeros((DRAWS, 0))
        self.weights = np.concatenate([np.ones((1, count)), drawn])

    def videos(self, rows: Sequence[Row]) -> np.ndarray:
        """Which video each row is about, as a column of `weights`, intp (N,)."""
        return np.array([self._numbers[row["video"]] for row in rows], np.intp)

    def sums(self, rows: Sequence[Row], values: Sequence[float]) -> np.ndarray:
        """The sum of the rows' values in each draw, float64 (1 + DRAWS,)."""
        return self.weights @ np.bincount(self.videos(rows), values, self.weights.shape[1])


class Measure(Protocol):
    """How a figure is measured."""

    def __call__(self, rows: Sequence[Row], draws: Bootstrap, known: Mapping[str, np.ndarray]) -> np.ndarray:
        """The figure in each draw, float64 (1 + DRAWS,) in percent; not a number where there is nothing to measure.

        known: what was measured before, by name.
        """
        ...


Plan = Mapping[str, Measure]
"""What to measure, by name, in order."""

Value = Callable[[Row], float | None]
"""A number of a row; None if the row has none, and is left out."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `value` over the rows that `among` takes. percent: values are so already, and not fractions."""

    value: Value
    among: Callable[[Row], bool] = lambda row: True
    percent: bool = False

    def __call__(self, rows: Sequence[Row], draws: Bootstrap, known: Mapping[str, np.ndarray]) -> np.ndarray:
        found, values = _with(self.value, filter(self.among, rows))
        if not found:
            return np.full(len(draws.weights), np.nan)
        with np.errstate(invalid="ignore"):
            means = draws.sums(found, values) / draws.sums(found, [1.0] * len(found))
        # Summed up as the evaluators do, which decides the last bit.
        means[0] = np.mean(values)
        return means if self.percent else 100 * means


@dataclass(frozen=True, slots=True)
class Ratio:
    """The sum of `part` over the sum of `whole`, over the rows that `among` takes and that have both."""

    part: Value
    whole: Value
    among: Callable[[Row], bool] = lambda row: True

    def __call__(self, rows: Sequence[Row], draws: Bootstrap, known: Mapping[str, np.ndarray]) -> np.ndarray:
        found, parts = _with(self.part, filter(self.among, rows))
        found, wholes = _with(self.whole, found)
        with np.errstate(invalid="ignore"):
            return 100 * draws.sums(found, parts) / draws.sums(found, wholes)


@dataclass(frozen=True, slots=True)
class MeanOfMetrics:
    """The mean of other figures, by name."""

    parts: tuple[str, ...]

    def __call__(self, rows: Sequence[Row], draws: Bootstrap, known: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.mean([known[part] for part in self.parts], axis=0)


def measure(rows: Sequence[Row], plan: Plan) -> dict[str, Figure]:
    """All figures of a plan, each with its interval."""
    return {name: _figure(values) for name, values in _measured(rows, plan, Bootstrap(rows)).items()}


def difference(ours: Sequence[Row], theirs: Sequence[Row], plan: Plan) -> dict[str, Figure]:
    """How much greater each figure is for `theirs`, whose rows are about the same questions in the same order."""
    draws = Bootstrap(ours)
    before, after = _measured(ours, plan, draws), _measured(theirs, plan, draws)
    return {name: _figure(after[name] - before[name]) for name in plan}


def failures(rows: Sequence[Row]) -> dict[str, int]:
    """How often there were no masks, by reason, most often first."""
    return dict(Counter(row["failure"] for row in rows if row["failure"]).most_common())


def _with(value: Value, rows: Iterable[Row]) -> tuple[list[Row], list[float]]:
    """The rows that have a value, and these."""
    found = [(row, known) for row in rows if (known := value(row)) is not None]
    return [row for row, _ in found], [known for _, known in found]


def _measured(rows: Sequence[Row], plan: Plan, draws: Bootstrap) -> dict[str, np.ndarray]:
    """Each figure in each draw."""
    known: dict[str, np.ndarray] = {}
    for name, how in plan.items():
        known[name] = how(rows, draws, known)
    return known


def _figure(values: np.ndarray) -> Figure:
    """The first value, and bounds from the others; draws without any row to measure on are left out."""
    value, drawn = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Figure(None)
    low, high = np.percentile(drawn, BOUNDS)
    return Figure(float(value), float(low), float(high))


def questions(rows: Iterable[Row]) -> list[Row]:
    """The rows that are about questions, and not about objects."""
    return [row for row in rows if "object" not in row]
