"""Tests whether a tracker can turn the true boxes of an expression into good masks, as ReVSeg selects its data.

The true boxes of the annotated frame with the largest targets are tracked through the video. The result is the mean,
over annotated frames, of the IoU of the merged masks with the truth. ReVSeg (arXiv 2512.02835) drops those below 0.6.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import thinkseg
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.readers.frame_cache import CACHE_BYTES, ByteBudget, CachedFrames
from thinkseg.data.readers.issues import ISSUES, Issue
from thinkseg.models.fingerprint import fingerprint_of
from thinkseg.ops.metrics import areas
from thinkseg.scale.workers import Worker
from thinkseg.storage.run_folder import ResultFolder, Row
from thinkseg.types import Frames, Masklets, Tracker


def mean_ious(
    worker: Worker[str, Row | Issue],
    benchmark: Benchmark,
    expressions: Sequence[Expression],
    out: Path,
    on_row: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Returns the mean IoU of each expression with a target by its key, or resumes a call with the same `out`.

    worker: a `TargetTracker`, or many as one. expressions: of the benchmark, those of a video together. Expressions
    with the same targets are tracked once.
    out: folder of the results, which a call with more expressions can extend. on_row: called with the number of
    expressions done.
    Issues of the data set, and videos that are set aside, go to `benchmark.issues` and have no result.
    Raises SettingsError if `out` cannot be written, holds results of other data or of another tracker, or is in use.
    """
    data = DataFingerprint(benchmark)
    asked = {_targets_id(one): one for one in expressions}
    counts = Counter(map(_targets_id, expressions))
    with ResultFolder(out, worker.settings) as folder:
        folder.check_rows(lambda name: _fingerprint(data, asked[name]) if name in asked else None)
        done = sum(counts[name] for name in folder.rows)
        todo = [one.key for name, one in asked.items() if name not in folder.rows]
        with closing(worker.answer(todo)) as answers:
            for _, row in benchmark.issues.filtered(answers):
                folder.add(row)
                done += counts[row["id"]]
                if on_row:
                    on_row(done)
        rows = folder.rows
    return {one.key: rows[_targets_id(one)]["iou"] for one in expressions if _targets_id(one) in rows}


class TargetTracker:
    """Tracks the true boxes of expressions, by their keys. A `thinkseg.scale.workers.Worker`."""

    def __init__(self, benchmark: Benchmark, tracker: Tracker) -> None:
        self._benchmark, self._tracker, self._data = benchmark, tracker, DataFingerprint(benchmark)
        self._expressions = {one.key: one for one in benchmark.expressions}
        self.settings = _settings(benchmark, tracker)

    def answer(self, items: Sequence[str]) -> Generator[tuple[str, Row | Issue], None, None]:
        """Yields the row of each expression, or its issue."""
        for video, keys in groupby(items, lambda key: self._expressions[key].video):
            frames = None
            for key in keys:
                row: Row | Issue
                try:
                    fingerprint = _fingerprint(self._data, self._expressions[key])
                    frames = frames or CachedFrames(self._benchmark.frames(video), ByteBudget(CACHE_BYTES))
                    row = _row(self._benchmark, self._expressions[key], frames, self._tracker)
                    row = {**row, "fingerprint": fingerprint}
                except ISSUES as issue:
                    row = issue
                yield key, row


def tracked_iou(frames: Frames, truth: Masklets, scored: Sequence[int], tracker: Tracker) -> tuple[int | None, float]:
    """Returns the keyframe and the mean IoU over the annotated frames; (None, 0.0) if no target is visible in these.

    Two empty masks count 1.
    """
    sizes = {frame: truth.area(frame) for frame in scored}
    keyframe = max(sizes, key=sizes.__getitem__, default=None)
    if keyframe is None or not sizes[keyframe]:
        return None, 0.0
    masks = tracker.track(frames, keyframe, truth.boxes(keyframe))
    counts = areas(masks, truth, scored).tolist()
    ious = [inside / total if total else 1.0 for inside, total in counts]
    return keyframe, sum(ious) / len(ious)


def _settings(benchmark: Benchmark, tracker: Tracker) -> dict[str, Any]:
    names = {"tracker": tracker.name, "version": thinkseg.__version__}
    return {**benchmark.run_settings(), **names, "fingerprints": {"tracker": dict(fingerprint_of(tracker))}}


def _targets_id(expression: Expression) -> str:
    return json.dumps([expression.video, *(expression.objects or ())])


def _fingerprint(data: DataFingerprint, expression: Expression) -> Mapping[str, str]:
    """Of frames and masks: the wording of the query does not matter."""
    found = data.of(expression)
    return {"frames": found["frames"], "masks": found["masks"]}


def _row(benchmark: Benchmark, expression: Expression, frames: Frames, tracker: Tracker) -> Row:
    truth = benchmark.truth(expression, frames.size_wh)
    assert truth is not None  # the expression has objects
    keyframe, iou = tracked_iou(frames, truth, expression.scored, tracker)
    return {"id": _targets_id(expression), "video": expression.video, "keyframe": keyframe, "iou": iou}
