"""The difference of two runs on the same expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkseg.errors import SettingsError, one_line
from thinkseg.evaluation.aggregation import Estimate, difference, expression_rows
from thinkseg.evaluation.old_results import read_results
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.evaluation.scores import metrics_table, nested
from thinkseg.storage.fingerprint import changed_parts
from thinkseg.storage.result_folder import finish_interrupted
from thinkseg.storage.run_folder import Row, read_settings

SAME = ("data", "split", "category_weights")
"""Settings that decide which expressions a run answers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the expressions that both answered.

    before, after: their rows, in the same order. unshared: how many further expressions each run answered.
    metrics: by group and name, second run minus first, in percentage points. protocol: its rules.
    settings: those that differ, by name, of the first run and of the second.
    """

    before: list[Row]
    after: list[Row]
    unshared: tuple[int, int]
    metrics: dict[str, dict[str, Estimate]]
    protocol: str
    settings: dict[str, tuple[Any, Any]]


def compare(first: str | Path, second: str | Path, corrected: bool = False) -> Comparison:
    """Compares two folders of results. Raises SettingsError if they are not about the same expressions.

    corrected: without the quirks of ViCaS' evaluator.
    """
    first, second = Path(first), Path(second)
    settings = _settings(first, second)
    before, after = read_results(first), read_results(second)
    shared = [name for name in before if name in after]
    if not shared:
        raise SettingsError(f"{first} and {second}: no expression in common; choose runs on the same data")
    rows = [before[name] for name in shared], [after[name] for name in shared]
    if others := [name for name in shared if before[name]["video"] != after[name]["video"]]:
        raise SettingsError(f"{first} and {second}: {others[0]} has different videos; compare runs on the same data")
    _check_data(first, second, *rows)
    protocol = protocol_of(str(settings[0].get("data")), rows[0], corrected)
    metrics = nested(difference(*rows, protocol.metrics))
    both = expression_rows(rows[0]), expression_rows(rows[1])
    unshared = tuple(len(expression_rows(run.values())) - len(both[0]) for run in (before, after))
    return Comparison(*both, (unshared[0], unshared[1]), metrics, protocol.rules, _differing(*settings))


def format_comparison(comparison: Comparison, most: int) -> str:
    """Returns a comparison as text for a terminal, with the `most` expressions whose J&F changed most."""
    lines = [f"{len(comparison.before)} expressions in both"]
    if any(comparison.unshared):
        lines[0] += (
            f"; {comparison.unshared[0]} only in the first, {comparison.unshared[1]} only in the second, skipped"
        )
    lines += [
        f"{name}: {one_line(repr(old))} in the first, {one_line(repr(new))} in the second"
        for name, (old, new) in comparison.settings.items()
    ]
    lines += [
        metrics_table(comparison.metrics),
        "second minus first, percentage points, with 95 % intervals over videos",
    ]
    lines += [f"protocol: {comparison.protocol}"]
    pairs = zip(comparison.before, comparison.after, strict=True)
    scored = [(after, question_score(before), question_score(after)) for before, after in pairs]
    changes = [(row, old, new) for row, old, new in scored if old is not None and new is not None and old != new]
    changes.sort(key=lambda change: -abs(change[2] - change[1]))
    lines.append(f"J&F differs in {len(changes)}" + (", most in" if changes and most else ""))
    lines += [
        f"  {old:5.1f} -> {new:5.1f}  {one_line(row['id'])}: {one_line(row['query'])}"
        for row, old, new in changes[:most]
    ]
    return "\n".join(lines)


def _settings(first: Path, second: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of two runs. Raises SettingsError if they answered different expressions."""
    for folder in (first, second):
        finish_interrupted(folder)
    before, after = read_settings(first), read_settings(second)
    for key in SAME:
        one, other = (settings.get(key) or None for settings in (before, after))
        if one != other:
            raise SettingsError(
                f"{first} and {second}: {key} differs, {one!r} and {other!r}; compare runs on the same data"
            )
    return before, after


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that two runs both have with other values. Fingerprints say less than the names."""
    one, other = ({**settings, **settings.get("view", {})} for settings in (before, after))
    names = [name for name in one if name in other and name not in ("view", "fingerprints")]
    return {name: (one[name], other[name]) for name in names if one[name] != other[name]}


def _check_data(first: Path, second: Path, before: list[Row], after: list[Row]) -> None:
    """Raises SettingsError if two runs answered other data under the same ids. Rows of earlier versions do not say."""
    for one, other in zip(before, after, strict=True):
        known = "fingerprint" in one and "fingerprint" in other
        if known and (changed := changed_parts(one["fingerprint"], other["fingerprint"])):
            raise SettingsError(
                f"{first} and {second}: {changed} of {one['id']} differs; compare runs on the same data"
            )


def question_score(row: Row) -> float | None:
    """Returns J&F in percent, None if the targets are unknown; an answer about no target is either correct or wrong."""
    if row["has_target"] is None:
        return None
    if row["has_target"] is False or row["j"] is None:
        return 100.0 if row["failure"] is None and row["is_empty"] else 0.0
    return float(50 * (row["j"] + row["f"]))
