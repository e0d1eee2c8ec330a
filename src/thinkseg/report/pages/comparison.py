"""The page of several evaluations on the same data: what differs, metrics side by side, and questions by change.

The first run is the one that the others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Estimate, compute_metrics, difference, expression_rows
from thinkseg.evaluation.comparison import compare
from thinkseg.evaluation.protocols import protocol_of
from thinkseg.evaluation.protocols.base import OVERALL
from thinkseg.evaluation.scores import nested
from thinkseg.report.page import write_html
from thinkseg.report.pages.cards import Card, Drawing, Wanted, anchors, answer_view, card, change_of, draw
from thinkseg.report.pages.evaluation import HEADLINE, PAGE, all_settings, card_filters, facts
from thinkseg.report.pages.runs import Metrics, Run, RunScenes
from thinkseg.storage.run_folder import Row
from thinkseg.types import ProgressCallback


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of all runs, and its change from the first run to each further one; None if it is unknown."""

    group: str
    metric: str
    values: Sequence[Estimate | None]
    changes: Sequence[Estimate | None]


def write_comparison(
    runs: Sequence[Run], folder: Path, root: Path | None, num_drawn: int, progress: ProgressCallback | None = None
) -> int:
    """Writes the page of two or more runs, and returns how many answers have pictures.

    folder: empty. root: of the data set, for pictures. num_drawn: draw the answers to so many questions, those that
    change most. Raises SettingsError if the runs are not about the same questions.
    """
    for other in runs[1:]:
        compare(runs[0].folder, other.folder)
    shared = [name for name in runs[0].rows if all(name in run.rows for run in runs)]
    if not shared:
        raise SettingsError("these runs have no question in common; choose runs on the same data")
    rows = [[run.rows[name] for name in shared] for run in runs]
    questions = sorted(zip(*map(expression_rows, rows), strict=True), key=lambda one: -abs(change_of(one) or 0.0))
    drawing = draw(_wanted(runs, questions[:num_drawn], root), folder, progress)
    names, unshared = _names(runs), [len(run.questions) - len(questions) for run in runs]
    cards = _cards(questions, names, drawing, num_drawn)
    write_html(
        folder / PAGE,
        "comparison.html.j2",
        title=f"{len(runs)} runs on {runs[0].title}",
        names=names,
        facts=[facts(run.settings) for run in runs],
        settings=_settings([all_settings(run.settings) for run in runs]),
        lines=_lines(runs[0].benchmark, rows),
        unshared=[f"{count} of {name}" for name, count in zip(names, unshared, strict=True) if count],
        cards=cards,
        **card_filters(cards),
    )
    return len(drawing.pictures)


def _wanted(runs: Sequence[Run], questions: Sequence[Sequence[Row]], root: Path | None) -> Wanted:
    """Returns what to draw, by the number of the run and the id of the question."""
    scenes = [RunScenes(run, root) for run in runs]
    return {
        f"{number} {row['id']}": (row["video"], partial(scenes[number].of, row))
        for rows in questions
        for number, row in enumerate(rows)
    }


def _names(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the runs' folders, or their paths if two have the same name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _settings(all_of: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Returns the settings in which runs differ, by name."""
    names = dict.fromkeys(name for settings in all_of for name in settings)
    values = {name: [settings.get(name, "–") for settings in all_of] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def _lines(benchmark: str, rows: Sequence[Sequence[Row]]) -> list[Line]:
    """Returns the main metrics of all questions, then J&F of each group."""
    metrics = protocol_of(benchmark, rows[0]).metrics
    values: list[Metrics] = [nested(compute_metrics(one, metrics)) for one in rows]
    changes: list[Metrics] = [nested(difference(rows[0], one, metrics)) for one in rows[1:]]
    groups = [name for name in values[0] if name != OVERALL]
    wanted = [(OVERALL, name) for name in HEADLINE] + [(group, "J&F") for group in groups]
    found = [
        Line(group, name, [_one(one, group, name) for one in values], [_one(one, group, name) for one in changes])
        for group, name in wanted
    ]
    return [line for line in found if any(line.values)]


def _one(metrics: Metrics, group: str, name: str) -> Estimate | None:
    return metrics.get(group, {}).get(name)


def _cards(questions: Sequence[Sequence[Row]], names: Sequence[str], drawing: Drawing, num_drawn: int) -> list[Card]:
    """questions: the rows of each, one per run."""
    places = anchors(rows[0]["id"] for rows in questions)
    undrawn = f"only the {num_drawn} questions that change most have pictures"
    made = []
    for rows in questions:
        keys = [f"{number} {row['id']}" for number, row in enumerate(rows)]
        answers = [
            answer_view(row, drawing.pictures.get(key), drawing.notes.get(key, undrawn), name)
            for row, key, name in zip(rows, keys, names, strict=True)
        ]
        made.append(card(places[rows[0]["id"]], answers, rows))
    return made
