"""Answers as a page to look at: scored segmentations in, `index.html` and its pictures out.

The page is static and opens from disk: one style sheet inside it, pictures and videos beside it, no script, no other
host. Each question shows the frames the policy saw with its keyframe and boxes, the masks, the truth, and the thinking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from thinkseg.evaluation.shapes_scores import Figures, Row, summarise
from thinkseg.report.page import webpage
from thinkseg.types import Dialogue, Masklets, Segmentation, Turn

STRIP, TRUTH = "strip.jpg", "truth.jpg"
"""Pictures of one question, in its folder."""


DIMMED, TINT = 0.55, 0.3
"""Brightness of what is outside the masks, and how strongly objects take on their colour in pictures of masks."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportItem:
    """One question on the page.

    row: the segmentation as `thinkseg.evaluation.shapes_scores.judge` scored it. folder: where its files are,
    relative to the page.
    video: name of the file in it that is to be played.
    """

    result: Segmentation
    row: Row
    folder: str
    video: str


def write_page(exhibits: Sequence[ReportItem], path: Path, title: str, facts: Mapping[str, str]) -> None:
    """Writes the page. facts: what was run, in a few words each. The pictures come from `write_pictures`."""
    totals = summarise([exhibit.row for exhibit in exhibits]).overall
    contents = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="facts">{" · ".join(f"{escape(k)} <b>{escape(v)}</b>" for k, v in facts.items())}</p></header>',
        _totals(totals),
        *(_article(exhibit) for exhibit in exhibits),
        f"<footer>{_LEGEND}</footer>",
    ]
    path.write_text(webpage(title, contents), "utf-8")


def verdict(row: Row) -> str:
    """What became of one question, in a few words."""
    if row["failure"]:
        return f"reply unusable ({row['failure']})"
    if row["target"]:
        return "missed: said there is none" if row["keyframe"] is None else "answered"
    return "right: there is none" if row["keyframe"] is None else "wrong: there is none"


def figure(value: float | None) -> str:
    """A score for people: two decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def _totals(totals: Figures) -> str:
    absent = totals.samples - totals.targets
    right = None if totals.no_target_right is None else round(totals.no_target_right * absent)
    cards = {
        "questions": str(totals.samples),
        "J&F": figure(totals.j_and_f),
        "J": figure(totals.j),
        "F": figure(totals.f),
        "replies usable": f"{round((totals.parsed or 0) * totals.samples)} of {totals.samples}",
        "no target, rightly": "–" if right is None else f"{right} of {absent}",
    }
    cells = (f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in cards.items())
    return f'<dl class="totals">{"".join(cells)}</dl>'


def _article(exhibit: ReportItem) -> str:
    row, folder = exhibit.row, escape(exhibit.folder)
    query = escape(row["query"])
    good = row["keyframe"] is None if not row["target"] else (row["j"] or 0) >= 0.5
    lines = [
        f'<article id="{folder}"><header><span class="chip">{escape(row["category"])}</span>',
        f"<h2>“{query}”</h2>",
        f'<p class="verdict {"good" if good and not row["failure"] else "bad"}">{escape(_headline(row))}</p></header>',
        '<div class="strips">',
        _picture(f"{folder}/{STRIP}", "answer", f"Frames with keyframe, boxes and masks for “{query}”"),
        _picture(f"{folder}/{TRUTH}", "truth", f"The true masks for “{query}”"),
        '</div><div class="columns">',
        f'<video src="{folder}/{escape(exhibit.video)}" controls loop muted playsinline preload="metadata"></video>',
        f"<div>{_thinking(exhibit)}{_later_turns(exhibit.result.dialogue)}{_details(exhibit)}</div></div></article>",
    ]
    return "\n".join(lines)


def _headline(row: Row) -> str:
    scores = f"J {figure(row['j'])}  F {figure(row['f'])}" if row["target"] else ""
    words = "" if verdict(row) == "answered" else verdict(row)
    return " · ".join(part for part in (words, scores) if part)


def _picture(source: str, caption: str, alt: str) -> str:
    return f'<figure><figcaption>{caption}</figcaption><img src="{source}" alt="{alt}" loading="lazy"></figure>'


def _thinking(exhibit: ReportItem) -> str:
    answer = exhibit.result.answer
    if answer is None:
        replies = "\n".join(exhibit.row["replies"])
        return f"<h3>reply, which could not be used</h3><pre>{escape(replies)}</pre>"
    return f"<h3>thinking</h3><blockquote>{escape(answer.thinking) or '–'}</blockquote>"


def _later_turns(dialogue: Dialogue) -> str:
    """What was asked after the first turn, in words, and what was replied."""
    said = []
    for turn, reply in zip(dialogue[2::2], dialogue[3::2], strict=False):
        words = " ".join(part for part in turn.content if isinstance(part, str)) if isinstance(turn, Turn) else turn
        said.append(f"<h3>asked next</h3><p>{escape(words)}</p><pre>{escape(str(reply))}</pre>")
    return "".join(said)


def _details(exhibit: ReportItem) -> str:
    result, row = exhibit.result, exhibit.row
    answer, truth = result.answer, result.sample.truth
    keyframe = answer.keyframe if answer else None
    time = None if keyframe is None else result.sample.video.time_of(keyframe)
    facts = {
        "keyframe": "none" if keyframe is None else f"{keyframe}" + ("" if time is None else f" ({time:.2f} s)"),
        "boxes": _boxes(answer.boxes if answer else None),
        "true boxes there": _boxes(_true_boxes(truth, keyframe)),
        "keyframe reward": figure(row["r_k"]),
        "box reward": figure(row["r_s"]),
        "seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in row["seconds"].items()),
    }
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _true_boxes(truth: Masklets | None, keyframe: int | None) -> np.ndarray | None:
    return None if truth is None or keyframe is None else truth.boxes(keyframe)


def _boxes(boxes: np.ndarray | None) -> str:
    if boxes is None or not len(boxes):
        return "–"
    return "; ".join(", ".join(f"{side:.0f}" for side in box) for box in boxes)


_LEGEND = (
    "J: overlap of predicted and true masks (region similarity). F: agreement of their outlines (contour accuracy). "
    "Both are means over all frames, between 0 and 1. A question without a target is right or wrong."
)
