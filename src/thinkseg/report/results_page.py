"""A static page of scored segmentations: `index.html`, with film strips and videos as files next to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from thinkseg.chains.parsing import explained
from thinkseg.evaluation.aggregation import compute_metrics
from thinkseg.evaluation.protocols.base import any_row, group_metrics
from thinkseg.report.film_strips import ANSWER_STRIP, TRUTH_STRIP
from thinkseg.report.page import PageImage, write_html
from thinkseg.storage.run_folder import Row
from thinkseg.types import Dialogue, Masklets, Segmentation, Turn

MISSING = "–"
"""Text of a value that does not apply."""

GOOD_J = 0.5
"""J from which the scores of a question with a target are printed in green."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportItem:
    """One question on the page.

    row: scores of the segmentation, as `thinkseg.evaluation.sample_metrics.sample_row` returns them.
    folder: where its files are, relative to the page. video: name of the video file in `folder`.
    """

    result: Segmentation
    row: Row
    folder: str
    video: str


def write_page(items: Sequence[ReportItem], path: Path, title: str, facts: Mapping[str, str]) -> None:
    """Writes the page. facts: settings of the run, by name. `write_film_strips` writes the images."""
    write_html(
        path,
        "results.html.j2",
        title=title,
        facts=facts,
        totals=_totals([item.row for item in items]),
        items=[_article(item) for item in items],
    )


def verdict(row: Row) -> str:
    """Returns the outcome of one question as text."""
    if row["failure"]:
        return f"invalid reply: {explained(row['failure'])}"
    if row["has_target"]:
        return "wrong: answered that there is no target" if row["keyframe"] is None else "answered"
    return "correct: no target" if row["keyframe"] is None else "wrong: there is no target"


def format_score(value: float | None) -> str:
    """Returns a score with two decimals, or a dash for None."""
    return MISSING if value is None else f"{value:.2f}"


def mean_scores(rows: Sequence[Row]) -> dict[str, float | None]:
    """Returns the metrics of all rows by name, as fractions."""
    metrics = compute_metrics(rows, group_metrics("", any_row))
    return {name.removeprefix("/"): None if one.value is None else one.value / 100 for name, one in metrics.items()}


def _totals(rows: Sequence[Row]) -> dict[str, str]:
    without_target = [row for row in rows if row["has_target"] is False]
    means = mean_scores(rows)
    correct = sum(verdict(row).startswith("correct") for row in without_target)
    valid = sum(row["failure"] is None for row in rows)
    return {
        "questions": str(len(rows)),
        **{name: format_score(means[name]) for name in ("J&F", "J", "F")},
        "valid replies": f"{valid} of {len(rows)}",
        "no target, correct": f"{correct} of {len(without_target)}" if without_target else MISSING,
    }


def _article(item: ReportItem) -> dict[str, Any]:
    """Returns the variables of one article of the template."""
    row, answer = item.row, item.result.answer
    return {
        "id": item.folder,
        "category": row["category"],
        "query": row["query"],
        "verdict": _headline(row),
        "good": _is_good(row),
        "images": [
            PageImage(
                _url(item, ANSWER_STRIP), f"Frames with keyframe, boxes and masks for “{row['query']}”", "answer"
            ),
            PageImage(_url(item, TRUTH_STRIP), f"Ground-truth masks for “{row['query']}”", "ground truth"),
        ],
        "video": _url(item, item.video),
        "thinking": answer.thinking if answer else None,
        "replies": "\n".join(row["replies"]),
        "later_turns": list(_later_turns(item.result.dialogue)),
        "details": _details(item),
    }


def _url(item: ReportItem, name: str) -> str:
    return quote(f"{item.folder}/{name}")


def _is_good(row: Row) -> bool:
    if row["failure"]:
        return False
    return (row["j"] or 0) >= GOOD_J if row["has_target"] else row["keyframe"] is None


def _headline(row: Row) -> str:
    scores = f"J {format_score(row['j'])}  F {format_score(row['f'])}" if row["has_target"] else ""
    outcome = "" if verdict(row) == "answered" else verdict(row)
    return " · ".join(part for part in (outcome, scores) if part)


def _later_turns(dialogue: Dialogue) -> Iterator[tuple[str, str]]:
    """Yields the text of each prompt after the first one, and its reply."""
    for prompt, reply in zip(dialogue[2::2], dialogue[3::2], strict=False):
        content = prompt.content if isinstance(prompt, Turn) else (prompt,)
        yield " ".join(part for part in content if isinstance(part, str)), str(reply)


def _details(item: ReportItem) -> dict[str, str]:
    sample, answer, row = item.result.sample, item.result.answer, item.row
    keyframe = answer.keyframe if answer else None
    time = None if keyframe is None else sample.video.time_of(keyframe)
    return {
        "keyframe": "none" if keyframe is None else f"{keyframe}" + ("" if time is None else f" ({time:.2f} s)"),
        "repairs": ", ".join(item.result.outcome.repairs) or MISSING,
        "boxes": _format_boxes(answer.boxes if answer else None),
        "ground-truth boxes": _format_boxes(_true_boxes(sample.truth, keyframe)),
        "R_k (keyframe)": format_score(row["r_k"]),
        "R_s (boxes)": format_score(row["r_s"]),
        "time": ", ".join(f"{step} {seconds:.1f} s" for step, seconds in row["seconds"].items()),
    }


def _true_boxes(truth: Masklets | None, keyframe: int | None) -> np.ndarray | None:
    return None if truth is None or keyframe is None else truth.boxes(keyframe)


def _format_boxes(boxes: np.ndarray | None) -> str:
    if boxes is None or not len(boxes):
        return MISSING
    return "; ".join(", ".join(f"{side:.0f}" for side in box) for box in boxes)
