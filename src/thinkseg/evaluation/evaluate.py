"""Evaluation of a chain, a policy and a tracker on a benchmark, in a folder that can be resumed at any moment.

The folder (`thinkseg.storage.run_folder`) holds settings.json, results.jsonl with one row per expression
(`thinkseg.evaluation.sample_metrics`), scores.json (`thinkseg.evaluation.scores`), and the masks as RLEs and optionally
as images (`thinkseg.evaluation.predictions`).

While the policy and the tracker process a sample, a second thread scores the one before, and a third decodes the next
video.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain as chained
from itertools import groupby, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import thinkseg
from thinkseg.chains import get_chain
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.data import check_not_empty
from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.readers.frame_cache import decoded_ahead
from thinkseg.data.readers.issues import ISSUES, Issue
from thinkseg.evaluation.old_results import checked_rows
from thinkseg.evaluation.predictions import open_predictions, rle_path, write_masklets, write_pngs
from thinkseg.evaluation.sample_metrics import object_rows, sample_row
from thinkseg.evaluation.scores import aggregate
from thinkseg.models.fingerprint import fingerprint_of
from thinkseg.pipeline import check_reading, resolve_view, segment_samples
from thinkseg.scale.workers import Worker
from thinkseg.storage.outputs import writing
from thinkseg.storage.run_folder import ROWS, ResultFolder, Row
from thinkseg.types import Frames, Masklets, Policy, Reading, Segmentation, Tracker, VideoSample, View

T = TypeVar("T")

PICTURES = "pictures"
"""Folder of mask images in the folder of an evaluation."""

MAX_WAITING = 2
"""Segmentations that wait to be scored; their masks fill memory."""


@dataclass(frozen=True, slots=True)
class Method:
    """What is evaluated.

    chain: a name for `thinkseg.chains.get_chain`. view: (default: the policy's own).
    reading: of replies; "repair" counts what it repairs, see `thinkseg.chains.repair`.
    """

    chain: str
    policy: Policy
    tracker: Tracker
    view: View | None = None
    batch_size: int = 1
    reading: Reading = "repair"

    @property
    def resolved_view(self) -> View:
        """The view, with sizes that the policy accepts."""
        return resolve_view(self.policy, self.view)

    def settings(self) -> dict[str, Any]:
        """Returns what decides the results, as plain JSON values. Raises SettingsError for an invalid choice."""
        check_reading(self.reading)
        chain = get_chain(self.chain)
        names = {"chain": self.chain, "policy": self.policy.name, "tracker": self.tracker.name}
        fingerprints = {
            "policy": fingerprint_of(self.policy),
            "tracker": fingerprint_of(self.tracker),
            "prompts": {self.chain: prompt_fingerprint(chain, self.resolved_view)},
        }
        # The fingerprint of the prompts has the wording; folders of earlier versions have no other trace of it.
        view = {name: value for name, value in asdict(self.resolved_view).items() if name != "prompts"}
        names |= {"version": thinkseg.__version__, "reading": self.reading}
        return {**names, "view": view, "fingerprints": fingerprints}


def evaluate(
    benchmark: Benchmark,
    method: Method,
    out: str | Path,
    *,
    save_png: bool = False,
    corrected: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_row: Callable[[Row, int], None] | None = None,
) -> dict[str, Any]:
    """Answers and scores all expressions of a benchmark in this process, see `evaluate_with`.

    settings: further settings that decide the results (seed, sampling), plain JSON values. The number of expressions
        is not one of them: a later call may answer more.
    Raises SettingsError if the policy needs seconds and the times of a video are unknown.
    """
    worker = Evaluator(benchmark, method, settings)
    return evaluate_with(worker, benchmark, out, save_png=save_png, corrected=corrected, on_row=on_row)


def evaluate_with(
    worker: Worker[str, Scored | Issue | None],
    benchmark: Benchmark,
    out: str | Path,
    *,
    save_png: bool = False,
    corrected: bool = False,
    on_row: Callable[[Row, int], None] | None = None,
) -> dict[str, Any]:
    """Fills a folder with the answers and scores of all expressions, or resumes a call with the same `out`.

    worker: an `Evaluator`, or many as one. save_png: also write masks as images, to `out`/pictures in the benchmark's
        own layout.
    corrected: without the quirks of ViCaS' evaluator, see `thinkseg.evaluation.protocols.vicas`.
    on_row: called with each row and the number of rows so far, rows of earlier calls first.

    Returns the content of scores.json. Issues of the data set, and videos that are set aside, go to `benchmark.issues`
    and have no row; the latter at the end.
    Raises DatasetError if there are no expressions, and SettingsError if `out` cannot be written, holds results of
    other settings, models, prompts or data, or is in use by another run.
    """
    check_not_empty(benchmark)
    out = Path(out)
    data = DataFingerprint(benchmark)
    expressions = {expression.key: expression for expression in benchmark.expressions}
    with ResultFolder(out, worker.settings) as folder:
        folder.rows = checked_rows(folder.rows.values(), out / ROWS)
        folder.check_rows(lambda name: data.of(expressions[name]) if name in expressions else None)
        todo = [name for name in expressions if name not in folder.rows]
        known = [row for name, row in folder.rows.items() if name in expressions]

        def keep(scored: Scored) -> Row:
            expression = expressions[scored.row["id"]]
            _write_masks(scored.masks, benchmark.videos[expression.video], expression, out, save_png)
            folder.add(scored.row)
            return scored.row

        with closing(worker.answer(todo)) as answers:
            rows = (keep(scored) for _, scored in benchmark.issues.filtered(answers))
            for done, row in enumerate(chained(known, rows), start=1):
                if on_row:
                    on_row(row, done)
        kept = [folder.rows[name] for name in expressions if name in folder.rows]
        scores = aggregate(benchmark, kept + _score_objects(benchmark, folder), corrected)
        folder.finish(scores)
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The row of an answer, and its masks; None without an answer."""

    row: Row
    masks: Masklets | None


class Evaluator:
    """Answers and scores expressions, by their keys. A `thinkseg.scale.workers.Worker`.

    settings: see `evaluate`.
    """

    def __init__(self, benchmark: Benchmark, method: Method, settings: Mapping[str, Any] | None = None) -> None:
        check_not_empty(benchmark)
        self._benchmark, self._data = benchmark, DataFingerprint(benchmark)
        self._method = replace(method, view=benchmark.times().decide(method.resolved_view))
        self._expressions = {expression.key: expression for expression in benchmark.expressions}
        self.settings = {**(settings or {}), **benchmark.run_settings(), **self._method.settings()}

    def answer(self, items: Sequence[str]) -> Generator[tuple[str, Scored | Issue | None], None, None]:
        """Yields what is scored, and the issues of others. Of a video that cannot be read, one expression has it."""
        failed: deque[tuple[str, Issue | None]] = deque()
        samples = self._samples([self._expressions[name] for name in items], failed)
        with closing(_answered(samples, self._method, self._scored)) as answered:
            for name, found in answered:
                yield name, found
                yield from _taken(failed)
        yield from _taken(failed)

    def _scored(self, segmentation: Segmentation) -> tuple[str, Scored | Issue]:
        name = segmentation.sample.id
        expression = self._expressions[name]
        try:
            row = sample_row(segmentation, self._method.resolved_view, self._benchmark, expression)
            row["fingerprint"] = self._data.of(expression)
        except ISSUES as issue:
            return name, issue
        return name, Scored(row, segmentation.masklets if segmentation.answer else None)

    def _samples(
        self, expressions: Iterable[Expression], failed: deque[tuple[str, Issue | None]]
    ) -> Iterator[VideoSample]:
        """Yields expressions as samples that share their video's frames, while the next video is decoded.

        failed: gets those that cannot be read; an unreadable frame affects all expressions of its video.
        """
        groups = [list(group) for _, group in groupby(expressions, attrgetter("video"))]
        with closing(decoded_ahead([partial(self._frames, group) for group in groups])) as videos:
            for group, video in zip(groups, videos, strict=True):
                try:
                    frames = video.result()
                except ISSUES as issue:
                    failed.extend(zip((one.key for one in group), chained([issue], repeat(None)), strict=False))
                    continue
                for expression in group:
                    try:
                        yield replace(self._benchmark.sample(expression), video=frames)
                    except ISSUES as issue:
                        failed.append((expression.key, issue))

    def _frames(self, expressions: Sequence[Expression]) -> Frames:
        """Returns the frames of a video. The fingerprints of the expressions about it are taken before."""
        for expression in expressions:
            with suppress(*ISSUES):  # raised again when the row is made
                self._data.of(expression)
        return self._benchmark.frames(expressions[0].video)


def _taken(waiting: deque[T]) -> Iterator[T]:
    while waiting:
        yield waiting.popleft()


def _score_objects(benchmark: Benchmark, folder: ResultFolder) -> list[Row]:
    """Returns the rows of objects, if the benchmark scores them together, from the masks in the folder."""
    rows: list[Row] = []
    predictions = open_predictions(folder.out, benchmark.name)
    for video in benchmark.videos.values():
        with benchmark.issues.skipping():
            for row in object_rows(benchmark, video, predictions):
                rows.append(row)
                if folder.rows.get(row["id"]) != row:
                    folder.add(row)
    return rows


def _answered(
    samples: Iterable[VideoSample], method: Method, keep: Callable[[Segmentation], T]
) -> Generator[T, None, None]:
    """Yields `keep(segmentation)` of each sample, in order, computed on another thread during the next sample.

    An error is raised once the segmentations before it are kept.
    """
    waiting: deque[Future[T]] = deque()
    chain_fn = get_chain(method.chain)
    answers = segment_samples(
        samples,
        chain_fn,
        method.policy,
        method.tracker,
        method.resolved_view,
        method.batch_size,
        reading=method.reading,
    )
    with ThreadPoolExecutor(1, "score") as score_thread:
        error: BaseException | None = None
        try:
            for segmentation in answers:
                waiting.append(score_thread.submit(keep, segmentation))
                while waiting and (waiting[0].done() or len(waiting) > MAX_WAITING):
                    yield waiting.popleft().result()
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
        while waiting:
            yield waiting.popleft().result()
        if error:
            raise error


def _write_masks(masks: Masklets | None, video: Video, expression: Expression, out: Path, save_png: bool) -> None:
    """Writes the masks of an answer; a failure has none, and those of an answer whose row was lost are removed."""
    rles, pictures = rle_path(out, expression), out / PICTURES / expression.folders[0]
    with writing(out):
        if masks is None:
            rles.unlink(missing_ok=True)
            shutil.rmtree(pictures, ignore_errors=True)
            return
        write_masklets(masks, rles)
        if save_png:
            write_pngs(masks, range(masks.num_frames), video, pictures)
