"""Scoring of predicted mask files, on several processes.

A process scores all expressions of a video before the next video, so that one process alone reads what the benchmark
caches for it. Worker processes end with their parent, whatever ends it.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.readers.issues import ISSUES, Issue
from thinkseg.evaluation.aggregation import expression_rows
from thinkseg.evaluation.predictions import Predictions
from thinkseg.evaluation.sample_metrics import object_rows, prediction_row
from thinkseg.storage.atomic import replacing
from thinkseg.storage.outputs import writing
from thinkseg.storage.run_folder import Row

EXPRESSION_COLUMNS = ("id", "video", "category", "annotation_run", "query", "has_target", "num_scored_frames")
METRIC_COLUMNS = ("j", "f", "intersection", "union", "robustness_visa255", "robustness_area")
COLUMNS = (*EXPRESSION_COLUMNS, "failure", "is_empty", *METRIC_COLUMNS)
"""Of a CSV file, in this order; metrics are fractions."""

VideoScores = tuple[list[Row], list[Issue]]
"""Rows of a video's expressions and objects, and the issues of the benchmark itself."""


def score(
    benchmark: Benchmark,
    predictions: Predictions,
    workers: int = 1,
    on_row: Callable[[Row, int], None] | None = None,
) -> list[Row]:
    """Returns the row of each expression, in the benchmark's order, those of a video followed by rows of its objects.

    workers: processes; 1 runs in this one. on_row: called with each expression's row and the number of rows so far.
    Issues of the benchmark go to `benchmark.issues` and have no row; unusable predictions are failures of a row.
    Raises DatasetFileError or VideoError if `benchmark.issues` does not skip issues.
    """
    rows: list[Row] = []
    done = 0
    for found, issues in _video_scores(benchmark, predictions, workers):
        for issue in issues:
            benchmark.issues.add(issue)
        rows += found
        for row in expression_rows(found):
            done += 1
            if on_row:
                on_row(row, done)
    return rows


def describe_unusual(rows: Iterable[Row]) -> list[str]:
    """Returns lines about masks that may not be what was meant: the first of each failure, and empty ones."""
    expressions = expression_rows(rows)
    details = {row["failure"]: row["failure_detail"] for row in reversed(expressions) if "failure_detail" in row}
    lines = [f"first {failure}: {detail}" for failure, detail in details.items()]
    targets = [row for row in expressions if row["has_target"]]
    if empty := [row["id"] for row in targets if row["is_empty"]]:
        lines.append(f"empty in all scored frames despite a target: {len(empty)} of {len(targets)}, first {empty[0]}")
    return lines


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """Writes the rows of expressions as a table, atomically. Raises SettingsError if the file cannot be written."""
    with writing(path), replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(expression_rows(rows))


def _video_scores(benchmark: Benchmark, predictions: Predictions, workers: int) -> Iterator[VideoScores]:
    """Yields the scores of each video, in order."""
    videos = [list(group) for _, group in groupby(benchmark.expressions, attrgetter("video"))]
    if workers == 1 or len(videos) < 2:
        yield from (_score_video(benchmark, predictions, group) for group in videos)
        return
    # A fork of a process that has threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(videos)), context, _start_worker, (benchmark, predictions)) as pool:
        with _ignored_by_children(signal.SIGINT, signal.SIGHUP):
            futures: list[Future[VideoScores]] = [pool.submit(_score_in_worker, group) for group in videos]
        try:
            for future in futures:
                yield future.result()
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ignored_by_children(*signals: signal.Signals) -> Iterator[None]:
    """Keeps signals from processes that start in the block. A terminal sends them to all; this one ends the others."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _score_video(benchmark: Benchmark, predictions: Predictions, expressions: Sequence[Expression]) -> VideoScores:
    rows: list[Row] = []
    issues: list[Issue] = []
    data = DataFingerprint(benchmark)
    for expression in expressions:
        try:
            fingerprint = data.of(expression)
            rows.append({**prediction_row(benchmark, expression, predictions), "fingerprint": fingerprint})
        except ISSUES as issue:
            issues.append(issue)
    try:
        rows += [] if issues else object_rows(benchmark, benchmark.videos[expressions[0].video], predictions)
    except ISSUES as issue:
        issues.append(issue)
    return rows, issues


_worker_arguments: list[tuple[Benchmark, Predictions]] = []
"""What a worker process scores."""


def _start_worker(benchmark: Benchmark, predictions: Predictions) -> None:
    _worker_arguments[:] = [(benchmark, predictions)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score_in_worker(expressions: Sequence[Expression]) -> VideoScores:
    ((benchmark, predictions),) = _worker_arguments
    return _score_video(benchmark, predictions, expressions)
