"""The content of scores.json: metrics by group, and the rules of the protocol that they follow.

    {"benchmark": "revos", "split": "valid", "protocol": "...", "videos": 416, "expressions": 9473, "skipped": 0,
     "failures": {"invalid_tags": 3}, "repaired": 12, "repairs": {"code_fence": 9, "single_quotes": 3},
     "metrics": {"referring": {"J": {"value": 51.2, "low": 49.9, ...}, ...}, ...}}

`thinkseg.evaluation.protocols.base` documents the metrics. "repaired" counts answers that could be read after a repair,
"repairs" how many of them have each repair of `thinkseg.chains.repair.REPAIRS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from thinkseg import console
from thinkseg.chains.parsing import explained
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.evaluation.aggregation import Estimate, compute_metrics, count_failures, count_repairs, expression_rows
from thinkseg.evaluation.predictions import MISSING, REASONS
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.storage.run_folder import Row

Groups = Mapping[str, Mapping[str, Estimate]]
"""Metrics by group and name."""

MAX_COLUMNS = 5
"""Metrics side by side in a table: each takes up to 20 characters."""


def aggregate(benchmark: Benchmark, rows: Sequence[Row], corrected: bool = False) -> dict[str, Any]:
    """Returns the content of scores.json.

    rows: of expressions, and of objects where the benchmark scores objects together.
    corrected: without the quirks of ViCaS' evaluator. Raises SettingsError where that evaluator ends with an error.
    """
    protocol = protocol_of(benchmark.name, rows, corrected)
    groups = nested(compute_metrics(rows, protocol.metrics))
    expressions = expression_rows(rows)
    repaired, repairs = count_repairs(expressions)
    return {
        "benchmark": benchmark.name,
        "split": benchmark.split,
        "protocol": protocol.rules,
        "videos": len({row["video"] for row in expressions}),
        "expressions": len(expressions),
        "skipped": len(benchmark.expressions) - len(expressions),
        "failures": count_failures(expressions),
        "repaired": repaired,
        "repairs": repairs,
        "metrics": {group: {name: asdict(one) for name, one in metrics.items()} for group, metrics in groups.items()},
    }


def metrics_of(scores: Mapping[str, Any]) -> dict[str, dict[str, Estimate]]:
    """Returns the metrics in the content of scores.json, by group and name. Raises TypeError if they are damaged."""
    return {
        group: {name: Estimate(**one) for name, one in metrics.items()} for group, metrics in scores["metrics"].items()
    }


def format_scores(scores: Mapping[str, Any]) -> str:
    """Returns the content of scores.json as text for a terminal."""
    groups = metrics_of(scores)
    lines = [
        f"{scores['benchmark']}, {scores['split']}: {scores['expressions']} expressions, {scores['videos']} videos",
        metrics_table(groups),
        f"percent, with 95 % intervals over videos; protocol: {scores['protocol']}",
    ]
    if scores["failures"]:
        skips_missing = MISSING in scores["failures"] and scores["benchmark"] == "reasonvos"
        effect = "score 0; but missing ones are skipped" if skips_missing else "score 0"
        counts = [(str(count), REASONS.get(name, explained(name))) for name, count in scores["failures"].items()]
        lines.append(console.table(("expressions", f"without masks, {effect}"), counts, numbers={0}))
    if scores["repaired"]:
        counts_by_name = ", ".join(f"{name} {count}" for name, count in scores["repairs"].items())
        lines.append(f"read after repair: {scores['repaired']} of {scores['expressions']}: {counts_by_name}")
    if scores["skipped"]:
        lines.append(f"skipped because of issues of the data set: {scores['skipped']}")
    return "\n".join(lines)


def nested(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    """Splits names like "GROUP/METRIC"; metrics without a value are dropped."""
    groups: dict[str, dict[str, Estimate]] = {}
    for name, estimate in metrics.items():
        group, _, metric = name.rpartition("/")
        if estimate.value is not None:
            groups.setdefault(group, {})[metric] = estimate
    return groups


def metrics_table(groups: Groups) -> str:
    """Returns one row per group and one column per metric; groups without a common metric get a table of their own."""
    parts: list[dict[str, Mapping[str, Estimate]]] = []
    columns: dict[str, None] = {}
    for group, metrics in groups.items():
        if not parts or columns.keys().isdisjoint(metrics):
            parts.append({})
            columns = {}
        parts[-1][group] = metrics
        columns |= dict.fromkeys(metrics)
    return "\n\n".join(block for part in parts for block in _blocks(part))


def _blocks(groups: Groups) -> list[str]:
    """Returns tables of at most `MAX_COLUMNS` metrics, each of the groups that have one of them."""
    columns = list(dict.fromkeys(name for metrics in groups.values() for name in metrics))
    blocks = []
    for start in range(0, len(columns), MAX_COLUMNS):
        shown = columns[start : start + MAX_COLUMNS]
        lines = [
            [group, *(str(metrics.get(name, Estimate(None))) for name in shown)]
            for group, metrics in groups.items()
            if not metrics.keys().isdisjoint(shown)
        ]
        blocks.append(console.table(["", *shown], lines))
    return blocks
