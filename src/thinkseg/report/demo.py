"""The whole way on a handful of clips: a policy and a tracker in; a folder with a page, and scores, out.

    index.html          the page
    scores.json         the scores of each question and of all
    val-000000/         one folder a question: clip.mp4, what `thinkseg segment` writes, and the page's pictures

Clips are written as video files and read back from them, so that a question goes the way it would go for any video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

from thinkseg import console
from thinkseg.chains import get_chain
from thinkseg.data.shapes import CATEGORIES, load
from thinkseg.evaluation.shapes_scores import Row, judge, summarise
from thinkseg.ops.video import open_video, write_video
from thinkseg.pipeline import resolve_view, segment_sample
from thinkseg.report.film_strips import write_film_strips
from thinkseg.report.result_files import write_files
from thinkseg.report.results_page import ReportItem, format_score, verdict, write_page
from thinkseg.storage.atomic import result_folder, write_json
from thinkseg.types import Policy, Progress, Tracker, VideoSample, View

SPLIT = "val"

EXTRA = 1
"""Clips beside the first one of each category."""


def run(
    out: Path, policy: Policy, tracker: Tracker, progress: Progress | None = None, chain: str = "veason"
) -> list[Row]:
    """Answers, follows and scores the questions, and writes the folder `out`. Returns one row a question.

    progress: called with (done, total) questions. chain: how they are asked, a name from `thinkseg.chains.CHAINS`.
    Raises SettingsError if `out` cannot be written, and what the policy and the tracker raise.
    """
    view = resolve_view(policy)
    samples = [load(SPLIT, index) for index in chosen()]
    exhibits = []
    with result_folder(out) as folder:
        for done, sample in enumerate(samples):
            exhibits.append(_exhibit(sample, chain, policy, tracker, view, folder))
            if progress:
                progress(done + 1, len(samples))
        rows = [exhibit.row for exhibit in exhibits]
        write_json({"questions": rows, **asdict(summarise(rows))}, folder / "scores.json")
        facts = {"policy": policy.name, "chain": chain, "tracker": tracker.name, "data": f"shapes, {SPLIT} split"}
        write_page(exhibits, folder / "index.html", "ThinkSeg: questions about a few clips", facts)
    return rows


def chosen() -> list[int]:
    """Indices into the val split by a rule that knows no results: the first of each category, then the first others."""
    first: dict[str, int] = {}
    for index, category in _categories():
        first.setdefault(category, index)
        if len(first) == len(CATEGORIES):
            break
    taken = [first[category] for category in CATEGORIES]
    others = (index for index in count() if index not in taken)
    return taken + [next(others) for _ in range(EXTRA)]


def table(rows: list[Row]) -> str:
    """The scores as text: a line for each question, and their means."""
    totals = summarise(rows).overall
    lines = []
    for row in rows:
        keyframe = "–" if row["keyframe"] is None else str(row["keyframe"])
        lines.append(
            (row["category"], row["query"], keyframe, format_score(row["j"]), format_score(row["f"]), verdict(row))
        )
    lines.append(
        ("mean", "", "", format_score(totals.j), format_score(totals.f), f"J&F {format_score(totals.j_and_f)}")
    )
    return console.table(("category", "question", "keyframe", "J", "F", ""), lines, numbers=range(2, 5), fold=True)


def _categories() -> Iterator[tuple[int, str]]:
    return ((index, load(SPLIT, index).category) for index in count())


def _exhibit(sample: VideoSample, chain: str, policy: Policy, tracker: Tracker, view: View, folder: Path) -> ReportItem:
    """One question answered from a file, with all its files in a folder of its own."""
    place = folder / sample.id
    place.mkdir()
    clip = place / "clip.mp4"
    write_video(clip, sample.video.read(range(len(sample.video))), sample.video.fps or 1.0)
    result = segment_sample(replace(sample, video=open_video(clip)), get_chain(chain), policy, tracker, view)
    row = judge(result, view)
    write_files(result, place, {"policy": policy.name, "tracker": tracker.name, "chain": chain})
    write_film_strips(result, view, place)
    return ReportItem(result, row, sample.id, clip.name if result.failure else "overlay.mp4")
