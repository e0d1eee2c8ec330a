"""What the rows of a benchmark come to: figures with their uncertainty, as values and as a table.

A figure is a mean over some of the rows, or the mean of other figures. How sure it is depends on how many *videos*
there are, more than on how many questions: answers about one video are right or wrong together. So intervals are made
by drawing videos, with all their rows, again and again (a bootstrap over clusters): 95 % of what comes out is between
the bounds. Two runs are compared on the rows that both have, with the same videos drawn for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg import tables
from thinkseg.results import Row

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


@dataclass(frozen=True, slots=True)
class Mean:
    """A figure: the mean of `value` over the rows that `among` takes and `value` is not None for, in percent."""

    value: Callable[[Row], float | None]
    among: Callable[[Row], bool] = lambda row: True


@dataclass(frozen=True, slots=True)
class MeanOf:
    """A figure: the mean of other figures, by name."""

    parts: tuple[str, ...]


Plan = Mapping[str, Mean | MeanOf]
"""What to measure, by name. A `MeanOf` comes after its parts."""


def measure(rows: Sequence[Row], plan: Plan) -> dict[str, Figure]:
    """All figures of a plan, each with its interval."""
    drawn = _measured(rows, plan, _draws(rows))
    return {name: _figure(values) for name, values in drawn.items()}


def difference(ours: Sequence[Row], theirs: Sequence[Row], plan: Plan) -> dict[str, Figure]:
    """How much greater each figure is for `theirs`, whose rows are about the same questions in the same order."""
    weights = _draws(ours)
    before, after = _measured(ours, plan, weights), _measured(theirs, plan, weights)
    return {name: _figure(after[name] - before[name]) for name in plan}


def failures(rows: Sequence[Row]) -> dict[str, int]:
    """How often there were no masks, by reason, most often first."""
    return dict(Counter(row["failure"] for row in rows if row["failure"]).most_common())


def table(figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """Figures as text: a line for each group, a column for each name."""
    heads = list(dict.fromkeys(name for group in figures.values() for name in group))
    lines = [[group, *(str(of.get(name, Figure(None))) for name in heads)] for group, of in figures.items()]
    return tables.table(["", *heads], lines)


def _draws(rows: Sequence[Row]) -> np.ndarray:
    """How often each row counts, float64 (1 + DRAWS, videos): once in the first draw, and at random in the others."""
    num_videos = len({row["video"] for row in rows})
    chance = np.full(num_videos, 1 / max(1, num_videos))
    drawn = np.random.default_rng(0).multinomial(num_videos, chance, DRAWS) if num_videos else np.zeros((DRAWS, 0))
    return np.concatenate([np.ones((1, num_videos)), drawn])


def _measured(rows: Sequence[Row], plan: Plan, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each figure in each draw, float64 (1 + DRAWS,) in percent; not a number where there is nothing to measure."""
    numbers = {video: number for number, video in enumerate(dict.fromkeys(row["video"] for row in rows))}
    measured: dict[str, np.ndarray] = {}
    for name, how in plan.items():
        if isinstance(how, MeanOf):
            measured[name] = np.mean([measured[part] for part in how.parts], axis=0)
            continue
        found = [(numbers[row["video"]], how.value(row)) for row in rows if how.among(row)]
        known = [(video, value) for video, value in found if value is not None]
        videos = np.array([video for video, _ in known], np.intp)
        sums = np.bincount(videos, [value for _, value in known], len(numbers))
        counts = np.bincount(videos, minlength=len(numbers))
        with np.errstate(invalid="ignore"):
            measured[name] = 100 * (weights @ sums) / (weights @ counts)
    return measured


def _figure(values: np.ndarray) -> Figure:
    """The first value, and bounds from the others; draws without any row to measure on are left out."""
    value, drawn = values[0], values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return Figure(None)
    low, high = np.percentile(drawn, BOUNDS)
    return Figure(float(value), float(low), float(high))
