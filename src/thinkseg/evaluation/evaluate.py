"""From questions with known truth to scores, in a folder that can be cut off at any moment (see
`thinkseg.storage.run_folder`).

In: samples, or a benchmark; a chain, a policy and a tracker; and a folder. Out, in that folder: settings.json,
results.jsonl with one row a question (see `thinkseg.evaluation.shapes_scores` and
`thinkseg.evaluation.sample_metrics`), scores.json; and for a benchmark the
masks, as run lengths and, if they are wanted, as pictures (see `thinkseg.evaluation.predictions`).

While the policy and the tracker work on a question, another thread judges the one before, and a third decodes the next
video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import chain as chained
from itertools import groupby
from operator import attrgetter, length_hint
from pathlib import Path
from typing import Any, TypeVar

import thinkseg
from thinkseg.chains import get_chain
from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames
from thinkseg.errors import DatasetError
from thinkseg.evaluation.predictions import open_predictions, rle_path, write_masklets, write_pictures
from thinkseg.evaluation.sample_metrics import object_rows, sample_row
from thinkseg.evaluation.scores import tally
from thinkseg.evaluation.shapes_scores import Scores, judge, known_truth, summarise, table
from thinkseg.pipeline import resolve_view, segment_samples
from thinkseg.storage.atomic import writing
from thinkseg.storage.run_folder import ResultFolder, Row
from thinkseg.types import Policy, Progress, Segmentation, Tracker, VideoSample, View

T = TypeVar("T")

__all__ = ["Method", "Scores", "evaluate", "evaluate_benchmark", "table"]

CACHE_BYTES = 2 << 30
"""Decoded frames kept at most, those of all videos in use together: 1,700 frames at 480p, 340 at 1080p."""

PICTURES = "pictures"
"""Where an evaluation writes pictures, in its folder."""

WAITING = 2
"""Segmentations that may wait to be judged; their masks fill memory."""


@dataclass(frozen=True, slots=True)
class Method:
    """What is evaluated. chain: a name from `thinkseg.chains.CHAINS`. view: as the policy likes it unless given."""

    chain: str
    policy: Policy
    tracker: Tracker
    view: View | None = None
    batch_size: int = 1

    @property
    def shown(self) -> View:
        """How videos are shown: the view, or the policy's own, fitted to the policy."""
        return resolve_view(self.policy, self.view)

    def settings(self) -> dict[str, Any]:
        """What decides the results, as plain JSON values. Raises SettingsError if the chain or view cannot be."""
        get_chain(self.chain)
        names = {"chain": self.chain, "policy": self.policy.name, "tracker": self.tracker.name}
        return {**names, "version": thinkseg.__version__, "view": asdict(self.shown)}


def evaluate(
    samples: Iterable[VideoSample],
    chain: str,
    policy: Policy,
    tracker: Tracker,
    out: Path,
    *,
    view: View | None = None,
    batch_size: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores a chain, a policy and a tracker on samples, or goes on where an earlier call in `out` was cut off.

    chain: a name from `thinkseg.chains.CHAINS`.
    settings: whatever else decides the results (data set, split, seed, sampling), plain JSON values. Kept in `out`
        beside the names and the view; how many samples are asked for is no setting, so that more can be added.
    progress: called with (samples done, samples in all), the latter 0 where `samples` does not know its length.

    Raises SettingsError if `out` cannot be written, holds results of other settings or is in use by another run,
    DatasetError if two samples share an id or a sample has no truth.
    """
    method = Method(chain, policy, tracker, view, batch_size)
    asked = _Asked(samples)
    with ResultFolder(out, {**(settings or {}), **method.settings()}) as folder:
        waiting = (sample for sample in asked if sample.id not in folder.rows)

        def keep(segmentation: Segmentation) -> Row:
            row = judge(segmentation, method.shown)
            folder.add(row)
            return row

        with closing(_answered(waiting, method, keep)) as answered:
            for row in answered:
                if progress:
                    progress(asked.positions[row["id"]], length_hint(samples))
        scores = summarise([folder.rows[name] for name in asked.positions])
        folder.finish(asdict(scores))
    return scores


def evaluate_benchmark(
    benchmark: Benchmark,
    method: Method,
    out: Path,
    *,
    fps: float | None = None,
    pictures: bool = False,
    fixed: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_row: Callable[[Row, int], None] | None = None,
) -> dict[str, Any]:
    """Answers all expressions of a benchmark, or goes on where an earlier call in `out` was cut off.

    fps: frames a second of videos that carry no times, so that a policy is told seconds; frames are numbered otherwise.
    pictures: write masks as pictures too, below `out`/pictures in the benchmark's own layout.
    fixed: score without the quirks of ViCaS' evaluator, see `thinkseg.evaluation.protocols.vicas`.
    settings: whatever else decides the results, see `evaluate`.
    on_row: called with each row as it is known, those of earlier calls first, and how many are known then.

    Returns what scores.json holds, see `thinkseg.evaluation.scores`. What is broken goes to `benchmark.issues`, and
    has no row.
    Raises SettingsError if `out` cannot be written, holds results of other settings or is in use by another run.
    """
    names = {"data": benchmark.name, "split": benchmark.split, "fps": fps}
    expressions = {expression.key: expression for expression in benchmark.expressions}
    with ResultFolder(out, {**(settings or {}), **names, **method.settings()}) as folder:
        todo = [expression for expression in benchmark.expressions if expression.key not in folder.rows]

        def keep(segmentation: Segmentation) -> Row | None:
            expression = expressions[segmentation.sample.id]
            with benchmark.issues.skipping():
                row = sample_row(segmentation, method.shown, benchmark, expression)
                _keep_masks(segmentation, benchmark.videos[expression.video], expression, out, pictures)
                folder.add(row)
                return row
            return None

        known = [row for name, row in folder.rows.items() if name in expressions]
        with closing(_answered(_questions(benchmark, todo, fps), method, keep)) as answered:
            for done, row in enumerate(chained(known, filter(None, answered)), start=1):
                if on_row:
                    on_row(row, done)
        rows = [folder.rows[name] for name in expressions if name in folder.rows]
        scores = tally(benchmark, rows + _score_objects(benchmark, folder), fixed)
        folder.finish(scores)
    return scores


def _score_objects(benchmark: Benchmark, folder: ResultFolder) -> list[Row]:
    """The rows of objects, where a benchmark scores all of a video together, made of the masks in the folder."""
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
    """What `keep` makes of each answer, in order, on another thread while the next sample is being answered.

    If something goes wrong, what was answered before is kept before that is raised.
    """
    waiting: deque[Future[T]] = deque()
    chain_fn = get_chain(method.chain)
    answers = segment_samples(samples, chain_fn, method.policy, method.tracker, method.shown, method.batch_size)
    with ThreadPoolExecutor(1, "judge") as judge_thread:
        for segmentation in answers:
            waiting.append(judge_thread.submit(keep, segmentation))
            if len(waiting) > WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _questions(benchmark: Benchmark, expressions: Iterable[Expression], fps: float | None) -> Iterator[VideoSample]:
    """Expressions as samples that share their video's frames; those of the next video are being decoded meanwhile.

    What is broken goes to `benchmark.issues`; all expressions about a video do if one of its frames is.
    """
    budget = ByteBudget(CACHE_BYTES)

    def decoded(video_id: str) -> CachedFrames:
        frames = CachedFrames(benchmark.frames(video_id), budget, fps)
        frames.fill()
        return frames

    groups = [(name, list(group)) for name, group in groupby(expressions, attrgetter("video"))]
    with ThreadPoolExecutor(1, "decode") as decode_thread:
        coming = [decode_thread.submit(decoded, name) for name, _ in groups[:1]]
        for position, (_, group) in enumerate(groups):
            video = coming.pop()
            # Started once this one is through, so that no more than the next is decoded ahead.
            wait([video])
            coming = [decode_thread.submit(decoded, name) for name, _ in groups[position + 1 : position + 2]]
            with benchmark.issues.skipping():
                frames = video.result()
                for expression in group:
                    with benchmark.issues.skipping():
                        yield replace(benchmark.sample(expression), video=frames)


def _keep_masks(segmentation: Segmentation, video: Video, expression: Expression, out: Path, pictures: bool) -> None:
    """Writes the masks of an answer. A reply that could not be used has none."""
    if segmentation.answer is None:
        return
    masks = segmentation.masklets
    with writing(out):
        write_masklets(masks, rle_path(out, expression))
        if pictures:
            write_pictures(masks, range(masks.num_frames), video, out / PICTURES / expression.folders[0])


class _Asked:
    """Samples on their way in, each checked that it can be scored.

    positions: ids of the samples that have come through, in order, each with how many that makes.
    """

    def __init__(self, samples: Iterable[VideoSample]) -> None:
        self.samples = samples
        self.positions: dict[str, int] = {}

    def __iter__(self) -> Iterator[VideoSample]:
        for position, sample in enumerate(self.samples, start=1):
            known_truth(sample)
            if sample.id in self.positions:
                raise DatasetError(f"two samples have the id {sample.id!r}: their results could not be told apart")
            self.positions[sample.id] = position
            yield sample
