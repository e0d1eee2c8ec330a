"""A run's scores.json: rows in, figures by kind of question out, under the name of the protocol they follow.

    {"benchmark": "revos", "split": "valid", "protocol": "...", "videos": 416, "expressions": 9473, "broken": 0,
     "failures": {"tags": 3}, "figures": {"referring": {"J": {"value": 51.2, "low": 49.9, "high": 52.4}, ...}, ...}}

What the figures are is told in `thinkseg.evaluation.protocols.base`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from thinkseg import console
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.evaluation.aggregation import Figure, failures, measure, questions
from thinkseg.evaluation.predictions import MISSING
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.storage.run_folder import Row


def tally(benchmark: Benchmark, rows: Sequence[Row], fixed: bool = False) -> dict[str, Any]:
    """Everything that scores.json holds.

    rows: of questions, and of objects where these are scored together. fixed: without the quirks of ViCaS' evaluator.
    Raises SettingsError where that evaluator would end with an error.
    """
    protocol = protocol_of(benchmark.name, rows, fixed)
    figures = measure(rows, protocol.plan)
    asked = questions(rows)
    return {
        "benchmark": benchmark.name,
        "split": benchmark.split,
        "protocol": protocol.rules,
        "videos": len({row["video"] for row in asked}),
        "expressions": len(asked),
        "broken": len(benchmark.expressions) - len(asked),
        "failures": failures(asked),
        "figures": {group: {name: asdict(figure) for name, figure in of.items()} for group, of in nested(figures)},
    }


def describe(scores: Mapping[str, Any]) -> str:
    """The same in lines to read."""
    figures = {
        group: {name: Figure(**figure) for name, figure in of.items()} for group, of in scores["figures"].items()
    }
    lines = [
        f"{scores['benchmark']}, {scores['split']}: {scores['expressions']} questions about {scores['videos']} videos",
        table(figures),
        f"percent, with 95 % intervals over videos; protocol: {scores['protocol']}",
    ]
    if scores["failures"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in scores["failures"].items())
        dropped = MISSING in scores["failures"] and scores["benchmark"] == "reasonvos"
        earn = "which earn 0; but those missing are left out" if dropped else "which earn 0"
        lines.append(f"without masks, {earn}: {reasons}")
    if scores["broken"]:
        lines.append(f"not asked, because the data set is broken there: {scores['broken']}")
    return "\n".join(lines)


def nested(figures: Mapping[str, Figure]) -> list[tuple[str, dict[str, Figure]]]:
    """Figures by group, in the order of the groups."""
    groups: dict[str, dict[str, Figure]] = {}
    for name, figure in figures.items():
        group, _, head = name.rpartition("/")
        if figure.value is not None:
            groups.setdefault(group, {})[head] = figure
    return list(groups.items())


def table(figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """Figures as text: a line for each group, a column for each name; groups that share no name stand apart."""
    parts: list[dict[str, Mapping[str, Figure]]] = []
    heads: dict[str, None] = {}
    for group, of in figures.items():
        if not parts or heads.keys().isdisjoint(of):
            parts.append({})
            heads = {}
        parts[-1][group] = of
        heads |= dict.fromkeys(of)
    return "\n\n".join(map(_table, parts))


def _table(figures: Mapping[str, Mapping[str, Figure]]) -> str:
    heads = list(dict.fromkeys(name for group in figures.values() for name in group))
    lines = [[group, *(str(of.get(name, Figure(None))) for name in heads)] for group, of in figures.items()]
    return console.table(["", *heads], lines)
