"""Numbers of an evaluation for its charts: histograms, and metrics by group of questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.evaluation.aggregation import Estimate, compute_metrics
from thinkseg.evaluation.protocols.base import group_metrics
from thinkseg.evaluation.scores import nested
from thinkseg.storage.run_folder import Row

BINS = 10

SIZES = (("under 1 % of the frames", 0.01), ("1 to 5 %", 0.05), ("over 5 %", np.inf))
LENGTHS = (("up to 30 scored frames", 31), ("31 to 100", 101), ("over 100", np.inf))
"""Groups by target_share and by num_scored_frames: a name, and the least value of the next group."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie in each of `BINS` equal parts of [0, 1], the last one with 1. mean: of all values."""

    title: str
    counts: Sequence[int]
    mean: float
    note: str = ""

    @property
    def most(self) -> int:
        """The largest count, at least 1."""
        return max(1, *self.counts)


@dataclass(frozen=True, slots=True)
class Group:
    """Questions with something in common. metrics: by name."""

    name: str
    count: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Grouping:
    """All questions in groups."""

    title: str
    groups: Sequence[Group]

    @property
    def columns(self) -> list[str]:
        """Names of the metrics that a group has."""
        return list(dict.fromkeys(name for group in self.groups for name in group.metrics))


def histogram(title: str, values: Iterable[float | None], note: str = "") -> Histogram | None:
    """Returns the histogram of the values that are known, None if none are."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    counts = np.histogram(known, BINS, (0, 1))[0].tolist()
    return Histogram(title, counts, float(np.mean(known)), note)


def histograms(rows: Sequence[Row]) -> list[Histogram]:
    """Returns the histograms of J, R_k and R_s over the questions with a target."""
    targets = [row for row in rows if row["has_target"]]
    choices = [row["r_k"] for row in targets if row.get("r_k") is not None]
    best = f"the best frame shown was chosen in {sum(choice >= 1 for choice in choices)} of {len(choices)} questions"
    found = (
        histogram("J per question", (row["j"] for row in targets), "overlap of predicted and true masks"),
        histogram("R_k per question", choices, f"size of the target in the chosen frame; {best}"),
        histogram("R_s per question", (row.get("r_s") for row in targets), "overlap of boxes on the chosen frame"),
    )
    return [one for one in found if one]


def groupings(rows: Sequence[Row], metrics: Mapping[str, Mapping[str, Estimate]]) -> list[Grouping]:
    """Returns the questions by category, number of targets, size and length, as far as rows say and groups differ.

    metrics: of all rows by category, and "overall".
    """
    found = [
        Grouping("By category", [_known_group(name, rows, values) for name, values in metrics.items()]),
        _grouped("By number of targets", rows, _targets),
        _grouped("By size of the targets", rows, lambda row: _bucket(row.get("target_share"), SIZES)),
        _grouped("By length", rows, lambda row: _bucket(row.get("num_scored_frames"), LENGTHS)),
    ]
    return [one for one in found if len(one.groups) > 1]


def _known_group(name: str, rows: Sequence[Row], metrics: Mapping[str, Estimate]) -> Group:
    count = sum(row["category"] == name for row in rows)
    return Group(name, count or len(rows), metrics)


def _grouped(title: str, rows: Sequence[Row], name_of: Callable[[Row], str | None]) -> Grouping:
    """Groups the questions whose group is known, in the order of the names' first letters or digits."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        if name := name_of(row):
            members.setdefault(name, []).append(row)
    order = [name for name, _ in (*SIZES, *LENGTHS)]
    names = sorted(members, key=lambda name: (order.index(name) if name in order else 0, name))
    return Grouping(title, [_group(name, members[name]) for name in names])


def _group(name: str, rows: Sequence[Row]) -> Group:
    metrics = nested(compute_metrics(rows, group_metrics(name, lambda row: True)))
    return Group(name, len(rows), metrics.get(name, {}))


def _targets(row: Row) -> str | None:
    count = row.get("num_targets")
    return None if count is None else "none" if count == 0 else "one" if count == 1 else "several"


def _bucket(value: float | None, buckets: Sequence[tuple[str, float]]) -> str | None:
    return None if not value else next(name for name, least_of_next in buckets if value < least_of_next)
