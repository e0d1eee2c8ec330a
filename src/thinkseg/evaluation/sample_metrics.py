"""Rows of results.jsonl: the metrics of one expression's answer or masks.

    {"id": "clip/3", "category": "reasoning", "query": "the one that waits", "failure": null, "keyframe": 12,
     "boxes": [[10.0, 20.0, 31.5, 40.0]], "replies": ["<think>...</answer>"], "repairs": [],
     "usage": {"prompt_tokens": 410, "completion_tokens": 96}, "seconds": {"policy": 0.4, "tracker": 0.2},
     "video": "clip", "annotation_run": "", "has_target": true, "num_targets": 1, "num_scored_frames": 70,
     "j": 0.91, "f": 0.95, "intersection": 90210, "union": 98304, "target_share": 0.012, "is_empty": false,
     "r_k": 1.0, "r_s": 0.83}

"repairs" are keys of `thinkseg.chains.repair.REPAIRS`; replies are as the policy wrote them.
Masks that come as files have no keyframe, boxes, replies, repairs, usage, seconds or rewards; if they cannot be used,
"failure_detail" says which file is the reason. Benchmarks with the merged masks
of all annotated objects add "robustness_visa255" and "robustness_area"; ViCaS adds "ious" and "tracks". Masks are
compared in annotated frames only, and "target_share" is the share of their pixels that the targets cover. With a
failure there are no masks, and all metrics of masks are 0. Without ground truth only "is_empty" is known.

Where objects are scored together (Ref-DAVIS17), each true object has a row as well:

    {"id": "dogs/anno_0/object 1", "video": "dogs", "annotation_run": "anno_0", "object": 1, "j": 0.91, "f": 0.95}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import attrgetter

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.evaluation.predictions import MISSING, Masks, PredictionError, Predictions
from thinkseg.evaluation.protocols.revos import robustness_area, robustness_visa255
from thinkseg.rewards import REWARDS, Prompt, Rollout
from thinkseg.rle import encode
from thinkseg.selection.files import SELECT
from thinkseg.storage.run_folder import Row
from thinkseg.types import Masklets, Segmentation, View

BY_TRACKS = "vicas"
"""The benchmark that scores tracks."""

TOGETHER = "refdavis"
"""The benchmark that scores all objects of a video together."""


def sample_row(segmentation: Segmentation, view: View, benchmark: Benchmark, expression: Expression) -> Row:
    """Returns the row of an answer. Raises DatasetFileError if the ground truth is invalid.

    r_k and r_s are None unless all frames are annotated: they depend on frames *without* the target, too.
    """
    sample = segmentation.sample
    predicted = segmentation.masklets if segmentation.answer else None
    row = {**answer_fields(segmentation), **expression_fields(expression), "r_k": None, "r_s": None}
    row |= mask_metrics(expression, predicted, sample.truth, sample.foreground)
    if benchmark.name == BY_TRACKS:
        row |= track_metrics(expression, predicted, sample.truth)
    if row["has_target"] and len(expression.scored) == len(sample.video):
        row |= reward_fields(segmentation, view)
    return row


def prediction_row(benchmark: Benchmark, expression: Expression, predictions: Predictions) -> Row:
    """Returns the row of masks of files. Raises DatasetFileError or VideoError if the benchmark is invalid."""
    video = benchmark.videos[expression.video]
    size_wh = benchmark.frames(video.id).size_wh
    truth, foreground = benchmark.truth(expression, size_wh), benchmark.foreground(video.id, size_wh)
    row: Row = {"id": expression.key, "category": expression.category, "query": expression.query}
    row |= expression_fields(expression)
    failure: str | None
    try:
        predicted = predictions.of(expression, video, size_wh)
        failure, metrics = None if predicted else MISSING, mask_metrics(expression, predicted, truth, foreground)
    except PredictionError as error:
        # One unusable frame invalidates the expression, as in the official evaluators.
        predicted, failure, metrics = None, error.reason, mask_metrics(expression, None, truth, foreground)
        row["failure_detail"] = str(error)
    row |= {"failure": failure, **metrics}
    return row | track_metrics(expression, predicted, truth) if benchmark.name == BY_TRACKS else row


def object_rows(benchmark: Benchmark, video: Video, predictions: Predictions) -> Iterator[Row]:
    """Yields the row of each true object of a video in each annotation run, if the benchmark scores them together.

    A selected part of a benchmark has no such rows: it need not have all objects of a video.
    An expression without usable masks is an empty object. Raises DatasetFileError or VideoError if the benchmark is
    invalid.
    """
    if benchmark.name != TOGETHER or SELECT in benchmark.settings:
        return
    from thinkseg.data.benchmarks.refdavis import label_maps
    from thinkseg.evaluation.protocols.refdavis import MAX_OBJECTS, merge_labels, object_scores

    size_wh = benchmark.frames(video.id).size_wh
    truth = np.stack(list(label_maps(benchmark, video.id, size_wh)))
    described = [expression for expression in benchmark.expressions if expression.video == video.id]
    # The rank of an object in its run decides which object has a pixel that several claim.
    described.sort(key=lambda expression: (expression.annotation_run, int(expression.id)))
    for run, expressions in groupby(described, attrgetter("annotation_run")):
        masks = [_video_masks(expression, video, size_wh, predictions) for expression in expressions]
        if len(masks) > MAX_OBJECTS:
            raise DatasetFileError(
                "unexpected_count", f"{video.id}: {len(masks)} expressions in {run}; must be at most {MAX_OBJECTS}"
            )
        scores = zip(*object_scores(merge_labels(masks, truth.shape), truth), strict=True)
        for number, (j, f) in enumerate(scores, start=1):
            row = {"id": f"{video.id}/{run}/object {number}", "video": video.id, "annotation_run": run}
            yield {**row, "object": number, "j": float(j), "f": float(f)}


def answer_fields(segmentation: Segmentation) -> Row:
    """Returns what a policy was asked and answered, without metrics."""
    sample, answer, outcome = segmentation.sample, segmentation.answer, segmentation.outcome
    return {
        "id": sample.id,
        "category": sample.category,
        "query": sample.query,
        "failure": outcome.failure,
        "keyframe": outcome.keyframe,
        "boxes": answer.boxes.tolist() if answer else [],
        "replies": list(outcome.replies),
        "repairs": list(outcome.repairs),
        "usage": {"prompt_tokens": outcome.num_prompt_tokens, "completion_tokens": outcome.num_tokens},
        "seconds": dict(segmentation.seconds),
    }


def expression_fields(expression: Expression) -> Row:
    """Returns the fields of an expression besides its query."""
    return {
        "video": expression.video,
        "annotation_run": expression.annotation_run,
        "has_target": None if expression.objects is None else bool(expression.objects),
        "num_targets": None if expression.objects is None else len(expression.objects),
        "num_scored_frames": len(expression.scored),
    }


def reward_fields(segmentation: Segmentation, view: View) -> Row:
    """Returns r_k and r_s of an answer about a sample with a target, by the rules of GRPO."""
    sample = segmentation.sample
    prompt = Prompt(sample, sample_indices(len(sample.video), view.num_frames))
    rollout = Rollout(prompt, segmentation.outcome)
    return {"r_k": REWARDS["keyframe"].function(rollout), "r_s": REWARDS["boxes"].function(rollout)}


def mask_metrics(
    expression: Expression, predicted: Masks | None, truth: Masklets | None, foreground: Masklets | None = None
) -> Row:
    """Returns the metrics of masks, over the annotated frames; None without ground truth, 0 without masks.

    foreground: merged masks of all annotated objects. Raises PredictionError or DatasetFileError for unusable masks.

    j, f: means over frames. intersection, union: pixels, summed over frames. target_share: of the pixels of all frames,
    those of the targets. is_empty: no pixel is predicted in any frame. robustness_visa255, robustness_area: means over
    frames, if the foreground is known.
    """
    if truth is None or not expression.scored:
        is_empty = predicted is not None and not any(predicted.union(frame).any() for frame in expression.scored)
        unknown = dict.fromkeys(("j", "f", "intersection", "union", "target_share"))
        return {**unknown, "is_empty": is_empty}
    foreground = foreground if truth.num_objects else None
    pixels = len(expression.scored) * truth.size_wh[0] * truth.size_wh[1]
    if predicted is None:
        area = _area(truth, expression.scored)
        row: Row = {"j": 0.0, "f": 0.0, "intersection": 0, "union": area}
        row |= {"target_share": area / pixels, "is_empty": False}
        return row if foreground is None else {**row, "robustness_visa255": 0.0, "robustness_area": 0.0}
    counts = _count_pixels(predicted, truth, expression.scored)
    row = {
        "j": float(counts.j.mean()),
        "f": float(counts.f.mean()),
        "intersection": int(counts.both.sum()),
        "union": int(counts.either.sum()),
        "target_share": int((counts.both + counts.either - counts.predicted).sum()) / pixels,
        "is_empty": not counts.predicted.any(),
    }
    return row if foreground is None else row | _robustness(counts, foreground, expression.scored)


def track_metrics(expression: Expression, predicted: Masks | None, truth: Masklets | None) -> Row:
    """Returns the overlaps of predicted and true tracks; None without ground truth.

    ious: one list per predicted track, its IoU with each true track, see `thinkseg.evaluation.protocols.vicas`.
    tracks: number of true tracks. Mask images hold one track, or none if all of them are empty.
    """
    from thinkseg.evaluation.protocols.vicas import track_ious

    if truth is None or not expression.scored:
        return {"ious": None, "tracks": None}
    tracks = truth if predicted is None else _tracks(predicted, truth, expression.scored)
    ious = [] if predicted is None else track_ious(tracks, truth, expression.scored).tolist()
    return {"ious": ious, "tracks": truth.num_objects}


@dataclass(frozen=True, slots=True, eq=False)
class _PixelCounts:
    """Two masks compared per frame: J and F, float64 (F,), and numbers of pixels, int64 (F,).

    predicted: of the predicted mask. both, either: of the intersection and the union. claimed: of the intersections
    with each true object, summed over objects.
    """

    j: np.ndarray
    f: np.ndarray
    predicted: np.ndarray
    both: np.ndarray
    either: np.ndarray
    claimed: np.ndarray


def _count_pixels(predicted: Masks, truth: Masklets, frames: Sequence[int]) -> _PixelCounts:
    """Reads and packs each predicted mask once."""
    from thinkseg.ops.metrics import compare_packed, packed, packed_area, scores

    objects = [Masklets(truth.size_wh, truth.num_frames, (track,)) for track in truth.rles] or [truth]
    tallies, areas, claimed = [], [], []
    for frame in frames:
        ours = _packed(predicted, frame, truth.size_wh)
        each = [packed(one, frame) for one in objects]
        tallies.append(compare_packed(ours, reduce(np.bitwise_or, each), truth.size_wh))
        areas.append(packed_area(ours))
        claimed.append(tallies[-1][0] if len(each) == 1 else sum(packed_area(ours & one) for one in each))
    both, either = np.array([tally[:2] for tally in tallies], np.int64).T
    return _PixelCounts(*scores(tallies), np.array(areas, np.int64), both, either, np.array(claimed, np.int64))


def _robustness(counts: _PixelCounts, foreground: Masklets, frames: Sequence[int]) -> Row:
    outside, surplus = counts.predicted - counts.both, counts.claimed - counts.both
    areas = np.array([_area(foreground, [frame]) for frame in frames], np.int64)
    return {
        "robustness_visa255": float(robustness_visa255(outside, surplus, areas).mean()),
        "robustness_area": float(robustness_area(outside, areas).mean()),
    }


def _packed(masks: Masks, frame: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns the merged objects of a frame, packed by columns."""
    from thinkseg.ops.bitmasks import pack_columns
    from thinkseg.ops.metrics import packed

    if not isinstance(masks, Masklets):
        return pack_columns(masks.union(frame))
    if masks.size_wh != size_wh:
        raise ValueError(f"masks of {masks.size_wh} cannot be compared with ground truth of {size_wh}")
    return packed(masks, frame)


def _area(masks: Masklets, frames: Sequence[int]) -> int:
    """Returns the pixels of the merged objects, summed over frames."""
    from thinkseg.ops.metrics import packed, packed_area

    return sum(packed_area(packed(masks, frame)) for frame in frames)


def _tracks(masks: Masks, truth: Masklets, frames: Sequence[int]) -> Masklets:
    """Returns masks as tracks; merged masks are one track, or none if all are empty."""
    if isinstance(masks, Masklets):
        return masks
    merged = {frame: masks.union(frame) for frame in frames}
    if not any(mask.any() for mask in merged.values()):
        return Masklets(truth.size_wh, truth.num_frames, ())
    track = [encode(merged[frame]) if frame in merged else None for frame in range(truth.num_frames)]
    return Masklets(truth.size_wh, truth.num_frames, (tuple(track),))


def _video_masks(
    expression: Expression, video: Video, size_wh: tuple[int, int], predictions: Predictions
) -> np.ndarray:
    """Returns the masks predicted for an expression, bool (T, H, W); empty ones if they cannot be used."""
    try:
        masks = predictions.of(expression, video, size_wh)
        if masks is not None:
            return np.stack([masks.union(frame) for frame in range(len(video.frames))])
    except PredictionError:
        # The row of the expression has the failure.
        pass
    return np.zeros((len(video.frames), *size_wh[::-1]), bool)
