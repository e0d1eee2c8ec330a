"""The table of an ablation: the paper's values, the measured ones, and their difference from the first row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinkseg import console
from thinkseg.evaluation.aggregation import Estimate
from thinkseg.evaluation.comparison import compare
from thinkseg.training.ablation.recipe import Ablation, Variant

HEADLINES = {
    "revos": ("referring/J&F", "reasoning/J&F", "overall/J&F"),
    "refdavis": ("A/J&F",),
    "mevis-v2": ("overall/J&F", "overall/final"),
    "vicas": ("LG-VIS/mAP",),
}
"""What is reported of a benchmark with a protocol of its own (default: overall/J&F)."""

METRICS = ("R_k", "R_s", "parse rate", "N-acc")
"""Further metrics in the table, over all categories. All are in percent."""

Scores = Mapping[str, Estimate]
"""Metrics by "GROUP/METRIC"."""


@dataclass(frozen=True, slots=True)
class Result:
    """The scores of a variant. gain: its last headline minus that of the first row, in percentage points."""

    row: Variant
    scores: Scores
    gain: Estimate

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        metrics = {name: asdict(one) for name, one in self.scores.items()}
        return {"metrics": metrics, "paper": self.row.paper, "gain": asdict(self.gain)}


def headlines(ablation: Ablation) -> Sequence[str]:
    """Returns the first measured columns."""
    return ablation.metrics or HEADLINES.get(ablation.data.name, ("overall/J&F",))


def gain(ablation: Ablation, first: Path, this: Path) -> Estimate:
    """Returns the last headline of one folder of results minus that of another on the same samples, in points."""
    group, _, metric = headlines(ablation)[-1].rpartition("/")
    return compare(first, this).metrics.get(group, {}).get(metric, Estimate(None))


def format_table(ablation: Ablation, results: Sequence[Result]) -> str:
    """Returns the paper's values and ours, both in the paper's order, and the gain of each row over the first."""
    every = "B" if ablation.data.name == "refdavis" else "overall"
    names = list(dict.fromkeys([*headlines(ablation), *(f"{every}/{metric}" for metric in METRICS)]))
    labels = {name: name.removeprefix(f"{every}/").replace("/", " ") for name in names}
    lines = []
    for position, result in enumerate(results):
        paper = [f"{value:.1f}" for value in result.row.paper] or ["-"] * len(ablation.columns)
        ours = [str(Estimate(result.scores.get(name, Estimate(None)).value)) for name in names]
        lines.append([result.row.title, *paper, *ours, str(result.gain) if position else "-"])
    columns = ["", *(f"{column} (paper)" for column in ablation.columns), *labels.values()]
    columns.append(f"{labels[headlines(ablation)[-1]]} above the first row, points [95 %]")
    return console.table(columns, lines, numbers=range(1, len(columns)), stored=True)
