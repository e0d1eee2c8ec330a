"""Two runs on the same questions: their folders in, how much better the second is and where they differ most out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Figure, difference, questions
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.evaluation.scores import nested, table
from thinkseg.storage.run_folder import ROWS, Row, read_rows, read_settings


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common, and what not.

    before, after: rows of the questions that both answered, in the same order. alone: how many each has besides.
    figures: by group and name, the second run's less the first's, in points of percent. protocol: which they follow.
    """

    before: list[Row]
    after: list[Row]
    alone: tuple[int, int]
    figures: dict[str, dict[str, Figure]]
    protocol: str


def compare(first: Path, second: Path, fixed: bool = False) -> Comparison:
    """Compares two folders of results. Raises SettingsError if they are not about the same questions.

    fixed: without the quirks of ViCaS' evaluator.
    """
    ours, theirs = (read_settings(folder) for folder in (first, second))
    for key in ("data", "split", "asked"):
        one, other = (settings.get(key) or None for settings in (ours, theirs))
        if one != other:
            raise SettingsError(f"{first} and {second} cannot be compared: {key} is {one!r} and {other!r}")
    before, after = ({name: _whole(row) for name, row in read_rows(out / ROWS).items()} for out in (first, second))
    shared = [name for name in before if name in after]
    if not shared:
        raise SettingsError(f"{first} and {second} have no question in common")
    rows = [before[name] for name in shared], [after[name] for name in shared]
    protocol = protocol_of(str(ours.get("data")), rows[0], fixed)
    figures = dict(nested(difference(*rows, protocol.plan)))
    both = questions(rows[0]), questions(rows[1])
    alone = len(questions(before.values())) - len(both[0]), len(questions(after.values())) - len(both[0])
    return Comparison(*both, alone, figures, protocol.rules)


def describe(comparison: Comparison, most: int) -> str:
    """A comparison in lines to read. most: how many of the questions that changed most are listed."""
    lines = [f"{len(comparison.before)} questions in both"]
    if any(comparison.alone):
        lines[0] += f"; {comparison.alone[0]} only in the first, {comparison.alone[1]} only in the second, left out"
    lines += [table(comparison.figures), "second less first, points of percent, with 95 % intervals over videos"]
    lines += [f"protocol: {comparison.protocol}"]
    changes = [
        (after, _j_and_f(before), _j_and_f(after))
        for before, after in zip(comparison.before, comparison.after, strict=True)
    ]
    changed = sorted((change for change in changes if change[1] != change[2]), key=lambda c: -abs(c[2] - c[1]))
    lines.append(f"J&F differs in {len(changed)}" + (", most in" if changed and most else ""))
    lines += [f"  {ours:5.1f} -> {theirs:5.1f}  {row['id']}: {row['query']}" for row, ours, theirs in changed[:most]]
    return "\n".join(lines)


def _whole(row: Row) -> Row:
    """A row with what those of the shapes world leave out: each sample is a video, and only answers can be empty."""
    empty = row["failure"] is None and row.get("keyframe") is None
    return {"video": row["id"], "empty": empty, **row}


def _j_and_f(row: Row) -> float:
    """In percent. A question without a target is right or wrong."""
    if row["target"] is False or row["j"] is None:
        right = row["failure"] is None and row["empty"]
        return 100.0 if right else 0.0
    return float(50 * (row["j"] + row["f"]))
