"""Anybody's predicted masks against a benchmark: a `Benchmark` and a folder in, rows out, on several processes.

A process scores all expressions about one video before it takes the next, so that what the benchmark keeps for a video
is read by one of them only. Processes end with the one that started them, however that ends.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.readers.issues import DatasetFileError, IssueKind
from thinkseg.errors import VideoError
from thinkseg.evaluation.aggregation import questions
from thinkseg.evaluation.predictions import Predictions
from thinkseg.evaluation.sample_metrics import object_rows, prediction_row
from thinkseg.storage.atomic import replacing, writing
from thinkseg.storage.run_folder import Row

ASKED = ("id", "video", "category", "group", "query", "target", "frames")
COLUMNS = (*ASKED, "failure", "empty", "j", "f", "intersection", "union", "r_visa255", "r_area")
"""Of a CSV file, in this order; scores are fractions."""

Flaw = tuple[IssueKind | None, str]
"""What is wrong with a benchmark, as the kind and message of a TreeError, or the message of a VideoError alone."""

Judged = tuple[list[Row], list[Flaw]]
"""Rows of some expressions, and what is wrong with the benchmark itself."""


def score(
    benchmark: Benchmark,
    predictions: Predictions,
    workers: int = 1,
    on_row: Callable[[Row, int], None] | None = None,
) -> list[Row]:
    """Scores the masks predicted for each expression, in the benchmark's order; rows of objects come after those.

    workers: processes; with one, the work is done in this one. on_row: called with each expression's row and how many
    there are.
    What is broken in the benchmark goes to `benchmark.issues` and has no row; what is wrong with predictions is in
    the rows. Raises TreeError or VideoError if the former may not be passed over.
    """
    rows: list[Row] = []
    done = 0
    for found, flaws in _judged(benchmark, predictions, workers):
        for kind, message in flaws:
            benchmark.issues.add(VideoError(message) if kind is None else DatasetFileError(kind, message))
        rows += found
        for row in questions(found):
            done += 1
            if on_row:
                on_row(row, done)
    return rows


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """Writes the rows of expressions as a table, in full or not at all. Raises SettingsError if that cannot be."""
    with writing(path), replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(questions(rows))


def _judged(benchmark: Benchmark, predictions: Predictions, workers: int) -> Iterator[Judged]:
    """What there is of each video, in order."""
    videos = [list(group) for _, group in groupby(benchmark.expressions, attrgetter("video"))]
    if workers == 1 or len(videos) < 2:
        yield from (_judge(benchmark, predictions, group) for group in videos)
        return
    # A fork of a process that has threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(videos)), context, _begin, (benchmark, predictions)) as pool:
        futures: list[Future[Judged]] = [pool.submit(_judge_here, group) for group in videos]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _judge(benchmark: Benchmark, predictions: Predictions, expressions: Sequence[Expression]) -> Judged:
    rows: list[Row] = []
    flaws: list[Flaw] = []
    for expression in expressions:
        with _noting(flaws):
            rows.append(prediction_row(benchmark, expression, predictions))
    if not flaws:
        with _noting(flaws):
            rows += list(object_rows(benchmark, benchmark.videos[expressions[0].video], predictions))
    return rows, flaws


@contextmanager
def _noting(flaws: list[Flaw]) -> Iterator[None]:
    """Gives up the rest of the block where the benchmark is broken, and lists why."""
    try:
        yield
    except DatasetFileError as flaw:
        flaws.append((flaw.kind, str(flaw)))
    except VideoError as flaw:
        flaws.append((None, str(flaw)))


_here: list[tuple[Benchmark, Predictions]] = []
"""What a worker process scores."""


def _begin(benchmark: Benchmark, predictions: Predictions) -> None:
    """Readies a worker process."""
    _here[:] = [(benchmark, predictions)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _judge_here(expressions: Sequence[Expression]) -> Judged:
    ((benchmark, predictions),) = _here
    return _judge(benchmark, predictions, expressions)
