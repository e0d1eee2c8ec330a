"""The page of one evaluation: its scores, charts, and a card for each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from thinkseg.chains.parsing import REASONS, explained
from thinkseg.chains.repair import REPAIRS
from thinkseg.evaluation import predictions
from thinkseg.evaluation.aggregation import Estimate, count_failures, count_repairs
from thinkseg.evaluation.comparison import question_score
from thinkseg.evaluation.protocols.base import OVERALL
from thinkseg.evaluation.scores import metrics_of
from thinkseg.report.page import write_html
from thinkseg.report.pages.cards import REPAIRED, Card, Drawing, anchors, answer_view, card, draw
from thinkseg.report.pages.charts import groupings, histograms
from thinkseg.report.pages.pictures import Scene
from thinkseg.report.pages.published import published
from thinkseg.report.pages.runs import Run, RunScenes
from thinkseg.report.pages.verdicts import OUTCOMES
from thinkseg.storage.run_folder import Row
from thinkseg.types import ProgressCallback, Segmentation, View

PAGE = "index.html"

HEADLINE = ("final", "J&F", "J", "F", "mAP", "T-acc", "N-acc", "R_k", "R_s", "parse rate")
"""Metrics of all questions that are printed large, as far as a run has them."""

FACTS = ("policy", "tracker", "chain", "reading", "predictions", "version", "device")
"""Settings in the first lines of a page."""

ALL_OUTCOMES = {**OUTCOMES, REPAIRED: "read after a repair"}
"""What a page filters by."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many questions have a failure or a repair, and what it means."""

    name: str
    count: int
    meaning: str


def write_evaluation(
    run: Run, folder: Path, root: Path | None, num_drawn: int, progress: ProgressCallback | None = None
) -> int:
    """Writes the page of a run, and returns how many questions have pictures.

    folder: empty. root: of the data set, for pictures. num_drawn: draw the worst so many answers.
    """
    scenes, rows = RunScenes(run, root), worst_first(run.questions)
    wanted = {row["id"]: (row["video"], partial(scenes.of, row)) for row in rows[:num_drawn]}
    drawing = draw(wanted, folder, progress)
    cards = _cards(rows, drawing, num_drawn)
    write_page(
        folder / PAGE,
        f"{run.title[0].upper()}{run.title[1:]}",
        facts(run.settings),
        rows,
        run.metrics,
        cards,
        _more(run),
    )
    return len(drawing.pictures)


def write_answers(
    answers: Sequence[tuple[Segmentation, Row]],
    view: View,
    scores: Mapping[str, Any],
    folder: Path,
    title: str,
    facts: Mapping[str, str],
) -> None:
    """Writes the page of answers in memory, in their order. scores: the content of scores.json."""
    wanted = {row["id"]: (row["video"], partial(Scene.of, result, view.num_frames)) for result, row in answers}
    rows = [row for _, row in answers]
    cards = _cards(rows, draw(wanted, folder), len(rows))
    more = {"settings": {}, "protocol": scores["protocol"], "skipped": 0, "published": ()}
    write_page(folder / PAGE, title, facts, rows, metrics_of(scores), cards, more)


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    rows: Sequence[Row],
    metrics: Mapping[str, Mapping[str, Estimate]],
    cards: Sequence[Card],
    more: Mapping[str, Any],
) -> None:
    """Writes the page of scored answers. metrics: by group and name. more: see `_more`."""
    repaired, repairs = count_repairs(rows)
    write_html(
        path,
        "evaluation.html.j2",
        title=title,
        facts=facts,
        num_videos=len({row["video"] for row in rows}),
        totals={name: metrics[OVERALL][name] for name in HEADLINE if name in metrics.get(OVERALL, {})},
        histograms=histograms(rows),
        groupings=groupings(rows, metrics),
        failures=[Count(name, count, _failure(name)) for name, count in count_failures(rows).items()],
        repaired=repaired,
        repairs=[Count(name, count, REPAIRS.get(name, name)) for name, count in repairs.items()],
        cards=cards,
        **more,
        **card_filters(cards),
    )


def card_filters(cards: Sequence[Card], names: Mapping[str, str] = ALL_OUTCOMES) -> dict[str, Any]:
    """Returns what the controls above the cards offer: categories, and outcomes. names: the meanings of outcomes."""
    outcomes = {name for one in cards for name in one.outcomes}
    return {
        "categories": {name: name for name in sorted({one.category for one in cards})},
        "outcomes": {name: text for name, text in names.items() if name in outcomes},
    }


def facts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings for the first lines of a page."""
    return {name: str(settings[name]) for name in FACTS if settings.get(name) not in (None, "")}


def all_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns all settings but fingerprints as text, those of the view by their own names."""
    view = settings.get("view")
    flat = {**settings, **(view if isinstance(view, dict) else {})}
    return {name: str(value) for name, value in flat.items() if name not in ("view", "fingerprints")}


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Sorts rows by their score, those without one last."""
    return sorted(rows, key=lambda row: (question_score(row) is None, question_score(row) or 0.0))


def _cards(rows: Sequence[Row], drawing: Drawing, num_drawn: int) -> list[Card]:
    names, undrawn = anchors(row["id"] for row in rows), f"only the {num_drawn} worst questions have pictures"
    return [
        card(
            names[row["id"]],
            [answer_view(row, drawing.pictures.get(row["id"]), drawing.notes.get(row["id"], undrawn))],
            [row],
        )
        for row in rows
    ]


def _more(run: Run) -> dict[str, Any]:
    """Returns what is known of a run besides its rows."""
    return {
        "settings": all_settings(run.settings),
        "protocol": run.protocol,
        "skipped": run.skipped,
        "published": published(run.benchmark),
    }


def _failure(name: str) -> str:
    return predictions.REASONS.get(name) or (explained(name) if name in REASONS else name)
