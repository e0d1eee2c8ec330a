"""Cards: one question with the answers of one or several runs, as the values that the templates print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thinkseg.errors import ThinkSegError
from thinkseg.evaluation.comparison import question_score
from thinkseg.report.pages.pictures import Pictures, Scene, draw_all
from thinkseg.report.pages.verdicts import MISSING, Said, format_score, is_good, outcome, scores_text, verdict
from thinkseg.storage.run_folder import Row
from thinkseg.types import ProgressCallback

PICTURES = "pictures"
"""Folder of the images beside a page."""

REPAIRED = "repaired"
"""An outcome besides `verdicts.OUTCOMES`: a reply was read after a repair."""


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer. run: its run, "" if there is only one. good: the color of its verdict, None for a neutral one.

    turns: what the policy replied. details: further facts by name. note: why there are no pictures.
    """

    run: str
    verdict: str
    scores: str
    good: bool | None
    turns: Sequence[Said]
    details: Mapping[str, str]
    pictures: Pictures | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One question. anchor: its id in the page. outcomes: keys by which the page filters.

    score: in percent, by which it sorts; None if it is unknown. change: of it, from the first answer to the last.
    """

    anchor: str
    id: str
    query: str
    category: str
    outcomes: Sequence[str]
    score: float | None
    answers: Sequence[AnswerView]
    change: float | None = None


Wanted = Mapping[str, tuple[str, Callable[[], Scene]]]
"""Answers to draw, by key: the name of the video, which is decoded once for all, and what returns the scene."""


@dataclass(slots=True)
class Drawing:
    """The pictures of some answers by key, and why others have none."""

    pictures: dict[str, Pictures] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def draw(wanted: Wanted, folder: Path, progress: ProgressCallback | None = None) -> Drawing:
    """Draws answers into `folder`/pictures. progress: called with (done, total) answers."""
    images, drawing, done = folder / PICTURES, Drawing(), 0
    images.mkdir()
    videos: dict[str, list[str]] = {}
    for key, (video, _) in wanted.items():
        videos.setdefault(video, []).append(key)
    for keys in videos.values():
        _draw_video({key: wanted[key][1] for key in keys}, images, drawing)
        done += len(keys)
        if progress:
            progress(done, len(wanted))
    return drawing


def _draw_video(wanted: Mapping[str, Callable[[], Scene]], images: Path, drawing: Drawing) -> None:
    scenes = {}
    for key, scene in wanted.items():
        try:
            scenes[key] = scene()
        except ThinkSegError as error:
            drawing.notes[key] = str(error)
    first = len(drawing.pictures) + len(drawing.notes)
    names = {f"{first + number:05d}": key for number, key in enumerate(scenes)}
    try:
        drawn = draw_all({name: scenes[key] for name, key in names.items()}, images) if scenes else {}
        drawing.pictures |= {names[name]: pictures for name, pictures in drawn.items()}
    except ThinkSegError as error:
        drawing.notes |= dict.fromkeys(scenes, str(error))


def answer_view(row: Row, pictures: Pictures | None = None, note: str = "", run: str = "") -> AnswerView:
    """Returns what a page says about a row of an evaluation."""
    return AnswerView(
        run=run,
        verdict=verdict(row),
        scores=scores_text(row),
        good=is_good(row),
        turns=[Said.of(reply) for reply in row.get("replies", [])],
        details=_details(row),
        pictures=pictures,
        note=note,
    )


def card(anchor: str, answers: Sequence[AnswerView], rows: Sequence[Row]) -> Card:
    """Returns the card of a question. rows: one per answer, in the order of the runs; it sorts by the last of them."""
    first, repaired = rows[0], [REPAIRED] if any(row.get("repairs") for row in rows) else []
    outcomes = list(dict.fromkeys([*map(outcome, rows), *repaired]))
    score, change = question_score(rows[-1]), change_of(rows)
    return Card(anchor, first["id"], first["query"], first["category"], outcomes, score, answers, change)


def change_of(rows: Sequence[Row]) -> float | None:
    """Returns the change of a question's score from the first run to the last; None if it is unknown."""
    first, last = question_score(rows[0]), question_score(rows[-1])
    return None if len(rows) == 1 or first is None or last is None else last - first


def anchors(ids: Iterable[str]) -> dict[str, str]:
    """Returns the id in the page of each question, which a link can have without escapes."""
    found: dict[str, str] = {}
    for number, name in enumerate(ids):
        anchor = f"q-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}"
        found[name] = f"{anchor}-{number}" if anchor in found.values() else anchor
    return found


def _details(row: Row) -> dict[str, str]:
    """Returns facts of a row by name, without those that it lacks."""
    facts = {
        "keyframe": MISSING if row.get("keyframe") is None else f"frame {row['keyframe']}",
        "R_k (keyframe)": format_score(row.get("r_k")),
        "R_s (boxes)": format_score(row.get("r_s")),
        "repairs": ", ".join(row.get("repairs", [])) or MISSING,
        "boxes": format_boxes(row.get("boxes", [])),
        "targets": MISSING if row.get("num_targets") is None else str(row["num_targets"]),
        "size of the targets": MISSING
        if row.get("target_share") is None
        else f"{100 * row['target_share']:.1f} % of the frames",
        "scored frames": str(row["num_scored_frames"]) if "num_scored_frames" in row else MISSING,
        "time": ", ".join(f"{step} {seconds:.1f} s" for step, seconds in row.get("seconds", {}).items()) or MISSING,
        "file": row.get("failure_detail") or MISSING,
    }
    return {name: value for name, value in facts.items() if value != MISSING}


def format_boxes(boxes: Iterable[Sequence[float]]) -> str:
    """Returns boxes as text, in whole pixels."""
    return "; ".join(", ".join(f"{side:.0f}" for side in box) for box in boxes) or MISSING
