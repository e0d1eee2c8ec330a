"""The demo: the bundled policy on a few clips of the shapes world, as a folder with a page.

    index.html          the page
    scores.json         the row of each sample, and the metrics of all (`thinkseg.evaluation.scores`)
    pictures/           the images of the page
    val-000000/         one folder per clip: clip.mp4, and the files of `thinkseg segment`

Clips are written as video files and read back, as any user's video would be.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thinkseg import console
from thinkseg.chains import get_chain
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.shapes import CATEGORIES, SHAPES_COMMENT
from thinkseg.evaluation.aggregation import compute_metrics
from thinkseg.evaluation.evaluate import Method
from thinkseg.evaluation.protocols.base import any_row, group_metrics
from thinkseg.evaluation.sample_metrics import sample_row
from thinkseg.evaluation.scores import aggregate
from thinkseg.ops.video import open_video, write_video
from thinkseg.pipeline import segment_sample
from thinkseg.report.pages.evaluation import write_answers
from thinkseg.report.pages.verdicts import format_score, verdict
from thinkseg.report.result_files import write_files
from thinkseg.storage.atomic import write_json
from thinkseg.storage.result_folder import result_folder
from thinkseg.storage.run_folder import Row
from thinkseg.types import Policy, ProgressCallback, Segmentation, Tracker

COMMAND = "demo"

POOL = 20
"""Samples to choose from: enough to hold every category."""

EXTRA = 1
"""Clips besides the first one of each category."""


def run(
    out: Path, policy: Policy, tracker: Tracker, progress: ProgressCallback | None = None, chain: str = "veason"
) -> list[Row]:
    """Answers, tracks and scores the samples, writes the folder `out`, and returns one row per sample.

    progress: called with (done, total) samples. chain: a name for `thinkseg.chains.get_chain`.
    Raises SettingsError if `out` cannot be written, and the errors of the policy and the tracker.
    """
    method = Method(chain, policy, tracker)
    benchmark = open_benchmark("shapes", limit=POOL)
    chosen = choose(benchmark)
    results, rows = [], []
    with result_folder(out, COMMAND) as folder:
        for done, expression in enumerate(chosen, start=1):
            results.append(_answered(benchmark, expression, method, folder))
            rows.append(sample_row(results[-1], method.resolved_view, benchmark, expression))
            if progress:
                progress(done, len(chosen))
        scores = aggregate(replace(benchmark, expressions=chosen), rows)
        write_json({"rows": rows, **scores}, folder / "scores.json")
        facts = {"policy": policy.name, "chain": chain, "tracker": tracker.name, "data": "shapes, val split"}
        answers = list(zip(results, rows, strict=True))
        write_answers(answers, method.resolved_view, scores, folder, "ThinkSeg: questions about a few clips", facts)
    return rows


def choose(benchmark: Benchmark) -> tuple[Expression, ...]:
    """Returns the first expression of each category, then the first others: a rule that does not depend on results."""
    first: dict[str, Expression] = {}
    for expression in benchmark.expressions:
        first.setdefault(expression.category, expression)
    chosen = [first[category] for category in CATEGORIES]
    others = [expression for expression in benchmark.expressions if expression not in chosen]
    return (*chosen, *others[:EXTRA])


def demo_table(rows: list[Row]) -> str:
    """Returns one line per sample, and the means of those with a target, as text for a terminal."""
    lines = []
    for row in rows:
        keyframe = "–" if row["keyframe"] is None else str(row["keyframe"])
        lines.append((row["category"], row["query"], keyframe, *_j_and_f(row), verdict(row) or "answered"))
    means = compute_metrics(rows, group_metrics("", any_row))
    j, f, j_and_f = (f"{(means[f'/{name}'].value or 0) / 100:.2f}" for name in ("J", "F", "J&F"))
    lines.append(("mean", "", "", j, f, f"J&F {j_and_f}"))
    return console.table(("category", "query", "keyframe", "J", "F", ""), lines, numbers=range(2, 5))


def _j_and_f(row: Row) -> tuple[str, str]:
    if not row["has_target"]:
        return format_score(None), format_score(None)
    return format_score(row["j"]), format_score(row["f"])


def _answered(benchmark: Benchmark, expression: Expression, method: Method, folder: Path) -> Segmentation:
    """Answers one sample from a video file, with all its files in a folder of its own."""
    sample, view = benchmark.sample(expression), method.resolved_view
    place = folder / expression.video
    place.mkdir()
    clip = place / "clip.mp4"
    write_video(clip, sample.video.read(range(len(sample.video))), sample.video.fps or 1.0, comment=SHAPES_COMMENT)
    sample = replace(sample, video=open_video(clip))
    result = segment_sample(sample, get_chain(method.chain), method.policy, method.tracker, view)
    settings = {"policy": method.policy.name, "tracker": method.tracker.name, "chain": method.chain}
    for error in write_files(result, place, settings).values():
        raise error
    return result
