"""Which figures each benchmark reports, and a run's scores.json: rows in, figures by kind of question out.

    {"benchmark": "revos", "split": "valid", "protocol": "...", "videos": 416, "expressions": 9473, "broken": 0,
     "failures": {"tags": 3}, "figures": {"referring": {"J": {"value": 51.2, "low": 49.9, "high": 52.4}, ...}, ...}}

J and F are those of DAVIS, over the frames that have a truth, each question the mean over its frames; J&F is the mean
of both. T-acc is the share of questions with a target that were answered with masks that are not empty, N-acc the share
of those without a target that were answered with empty ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from thinkseg.data.benchmark import NO_TARGET, REASONING, REFERRING, Benchmark
from thinkseg.predictions import MISSING
from thinkseg.results import Row
from thinkseg.summary import Figure, Mean, MeanOf, Plan, failures, measure, table

OVERALL = "overall"

DROPS_MISSING = frozenset({"reasonvos"})
"""Benchmarks whose evaluators leave out questions without any predicted masks; in others these earn 0."""

PROTOCOLS = {
    "revos": "VISA: scores of a question in percent rounded to 2 decimals; overall is the mean of referring and "
    "reasoning; no-target apart",
    "reasonvos": "VideoLISA: mean over questions, frames with a mask only; questions without predictions left out",
}
"""How overall figures come to be, where it is not the mean over all questions with a target."""

MEAN_OF_ALL = "mean over all questions with a target"


def plan_of(name: str, categories: Sequence[str]) -> Plan:
    """What to measure on a benchmark: figures "<category>/<figure>", and "overall/<figure>"."""
    plan: dict[str, Mean | MeanOf] = {}
    revos = name == "revos"
    for category in (*categories, OVERALL):
        of_category = _anything if category == OVERALL else partial(_is, category)
        if category != NO_TARGET:
            for head, key in (("J", "j"), ("F", "f")):
                value = partial(_score, key=key, digits=2 if revos else None, drops=name in DROPS_MISSING)
                plan[f"{category}/{head}"] = Mean(value, partial(_both, of_category, _has_target))
            plan[f"{category}/J&F"] = MeanOf((f"{category}/J", f"{category}/F"))
            plan[f"{category}/T-acc"] = Mean(_not_empty, partial(_both, of_category, _has_target))
        if category in (NO_TARGET, OVERALL):
            plan[f"{category}/N-acc"] = Mean(_empty, partial(_both, of_category, _has_none))
    if revos and {REFERRING, REASONING} <= set(categories):
        for head in ("J", "F", "J&F"):
            del plan[f"{OVERALL}/{head}"]
            plan[f"{OVERALL}/{head}"] = MeanOf((f"{REFERRING}/{head}", f"{REASONING}/{head}"))
    return plan


def tally(benchmark: Benchmark, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything that scores.json holds. broken: questions that could not be asked, see `benchmark.problems`."""
    figures = measure(rows, plan_of(benchmark.name, categories(rows)))
    return {
        "benchmark": benchmark.name,
        "split": benchmark.split,
        "protocol": PROTOCOLS.get(benchmark.name, MEAN_OF_ALL),
        "videos": len({row["video"] for row in rows}),
        "expressions": len(rows),
        "broken": len(benchmark.expressions) - len(rows),
        "failures": failures(rows),
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
        f"percent, with 95 % intervals over videos; overall: {scores['protocol']}",
    ]
    if scores["failures"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in scores["failures"].items())
        dropped = MISSING in scores["failures"] and scores["benchmark"] in DROPS_MISSING
        earn = "which earn 0; but those missing are left out" if dropped else "which earn 0"
        lines.append(f"without masks, {earn}: {reasons}")
    if scores["broken"]:
        lines.append(f"not asked, because the data set is broken there: {scores['broken']}")
    return "\n".join(lines)


def categories(rows: Sequence[Row]) -> list[str]:
    """Kinds of questions, in alphabetical order."""
    return sorted({row["category"] for row in rows})


def nested(figures: Mapping[str, Figure]) -> list[tuple[str, dict[str, Figure]]]:
    """Figures by group, in the order of the groups."""
    groups: dict[str, dict[str, Figure]] = {}
    for name, figure in figures.items():
        group, _, head = name.rpartition("/")
        if figure.value is not None:
            groups.setdefault(group, {})[head] = figure
    return list(groups.items())


def _score(row: Row, key: str, digits: int | None, drops: bool) -> float | None:
    """A score of a row; None if it is not known, or left out."""
    value: float | None = row[key]
    if value is None or (drops and row["failure"] == MISSING):
        return None
    return value if digits is None else round(100 * value, digits) / 100


def _not_empty(row: Row) -> float:
    return float(row["failure"] is None and not row["empty"])


def _empty(row: Row) -> float:
    return float(row["failure"] is None and row["empty"])


def _anything(row: Row) -> bool:
    return True


def _is(category: str, row: Row) -> bool:
    return bool(row["category"] == category)


def _has_target(row: Row) -> bool:
    return row["target"] is True


def _has_none(row: Row) -> bool:
    return row["target"] is False


def _both(first: Callable[[Row], bool], second: Callable[[Row], bool], row: Row) -> bool:
    return first(row) and second(row)
