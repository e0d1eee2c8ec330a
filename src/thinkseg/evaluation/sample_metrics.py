"""What predicted masks are worth against a benchmark's truth: an expression and its masks in, a row out.

A row of a benchmark holds, besides what was asked and answered:

    {"id": "clip/3", "video": "clip", "group": "", "category": "reasoning", "target": true, "frames": 70,
     "failure": null, "j": 0.91, "f": 0.95, "intersection": 90210, "union": 98304, "empty": false}

where the benchmark has all annotated objects merged, R besides ("r_visa255" and "r_area"), and for ViCaS how tracks
overlap the true ones ("ious" and "tracks"). Only frames that the benchmark has a truth for are looked at. A failure
says why there are no masks, and then nothing is earned. Without a truth, only "empty" is known.

Where objects are scored together (Ref-DAVIS17), there are rows of objects, too:

    {"id": "dogs/anno_0/object 1", "video": "dogs", "group": "anno_0", "object": 1, "j": 0.91, "f": 0.95}
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
from thinkseg.evaluation.protocols.revos import r_area, r_visa255
from thinkseg.rewards import REWARDS, Prompt, Rollout
from thinkseg.rle import encode
from thinkseg.storage.run_folder import Row
from thinkseg.types import Masklets, Segmentation, View

BY_TRACKS = "vicas"
"""The benchmark that scores tracks."""

TOGETHER = "refdavis"
"""The benchmark that scores all objects of a video together."""


def sample_row(segmentation: Segmentation, view: View, benchmark: Benchmark, expression: Expression) -> Row:
    """The row of an answer. Raises TreeError if the truth is broken.

    r_k and r_s, the rewards, are measured where all frames have a truth: they ask where a target is *not*, too.
    """
    sample = segmentation.sample
    predicted = segmentation.masklets if segmentation.answer else None
    row = {**told(segmentation), **about(expression), "r_k": None, "r_s": None}
    row |= compare(expression, predicted, sample.truth, sample.foreground)
    if benchmark.name == BY_TRACKS:
        row |= compare_tracks(expression, predicted, sample.truth)
    if row["target"] and len(expression.scored) == len(sample.video):
        row |= rewarded(segmentation, view)
    return row


def prediction_row(benchmark: Benchmark, expression: Expression, predictions: Predictions) -> Row:
    """The row of masks that come as files. Raises TreeError or VideoError if the benchmark itself is broken."""
    video = benchmark.videos[expression.video]
    size_wh = benchmark.frames(video.id).size_wh
    truth, foreground = benchmark.truth(expression, size_wh), benchmark.foreground(video.id, size_wh)
    row = {"id": expression.key, "category": expression.category, "query": expression.query, **about(expression)}
    failure: str | None
    try:
        predicted = predictions.of(expression, video, size_wh)
        failure, worth = None if predicted else MISSING, compare(expression, predicted, truth, foreground)
    except PredictionError as flaw:
        # One frame that is not as it should be spoils the expression, as it does in the official evaluators.
        predicted, failure, worth = None, flaw.reason, compare(expression, None, truth, foreground)
    row |= {"failure": failure, **worth}
    return row | compare_tracks(expression, predicted, truth) if benchmark.name == BY_TRACKS else row


def object_rows(benchmark: Benchmark, video: Video, predictions: Predictions) -> Iterator[Row]:
    """The rows of a video's true objects in each run, for a benchmark that scores them together; none for others.

    An expression without usable masks is an empty object. Raises TreeError or VideoError if the benchmark is broken.
    """
    if benchmark.name != TOGETHER:
        return
    from thinkseg.data.benchmarks.refdavis import label_maps
    from thinkseg.evaluation.protocols.refdavis import MAX_OBJECTS, merge_labels, object_scores

    size_wh = benchmark.frames(video.id).size_wh
    truth = np.stack(list(label_maps(benchmark, video.id, size_wh)))
    asked = [expression for expression in benchmark.expressions if expression.video == video.id]
    # Expressions of a run go by the rank of their object, which decides who has a pixel that several claim.
    asked.sort(key=lambda expression: (expression.annotation_run, int(expression.id)))
    for run, expressions in groupby(asked, attrgetter("annotation_run")):
        masks = [_video_of(expression, video, size_wh, predictions) for expression in expressions]
        if len(masks) > MAX_OBJECTS:
            raise DatasetFileError(
                "unexpected_count", f"{video.id} has {len(masks)} expressions in {run}, where {MAX_OBJECTS} can be"
            )
        scores = zip(*object_scores(merge_labels(masks, truth.shape), truth), strict=True)
        for number, (j, f) in enumerate(scores, start=1):
            name = f"{video.id}/{run}/object {number}"
            yield {"id": name, "video": video.id, "group": run, "object": number, "j": float(j), "f": float(f)}


def about(expression: Expression) -> Row:
    """What a row tells of its expression besides the question."""
    return {
        "video": expression.video,
        "group": expression.annotation_run,
        "target": None if expression.objects is None else bool(expression.objects),
        "frames": len(expression.scored),
    }


def compare(
    expression: Expression, predicted: Masks | None, truth: Masklets | None, foreground: Masklets | None = None
) -> Row:
    """The scores of masks; no masks are worth nothing, and nothing is known without a truth for any frame.

    foreground: all annotated objects merged. Raises PredictionError or TreeError if masks cannot be used.

    j, f: means over the scored frames. intersection, union: pixels in both and in either, summed over them. empty: no
    pixel is predicted in any. r_visa255, r_area: means over the frames, where the foreground is known.
    """
    if truth is None or not expression.scored:
        empty = predicted is not None and not any(predicted.union(frame).any() for frame in expression.scored)
        return {"j": None, "f": None, "intersection": None, "union": None, "empty": empty}
    around = foreground if truth.num_objects else None
    if predicted is None:
        nothing = {"j": 0.0, "f": 0.0, "intersection": 0, "union": _area(truth, expression.scored), "empty": False}
        return nothing if around is None else {**nothing, "r_visa255": 0.0, "r_area": 0.0}
    counted = _count(predicted, truth, expression.scored)
    row: Row = {
        "j": float(counted.j.mean()),
        "f": float(counted.f.mean()),
        "intersection": int(counted.both.sum()),
        "union": int(counted.either.sum()),
        "empty": not counted.predicted.any(),
    }
    if around is not None:
        outside, surplus = counted.predicted - counted.both, counted.claimed - counted.both
        areas = np.array([_area(around, [frame]) for frame in expression.scored], np.int64)
        row["r_visa255"] = float(r_visa255(outside, surplus, areas).mean())
        row["r_area"] = float(r_area(outside, areas).mean())
    return row


def compare_tracks(expression: Expression, predicted: Masks | None, truth: Masklets | None) -> Row:
    """How predicted tracks overlap the true ones.

    ious: a list for each predicted track with its IoU with each true one, see `thinkseg.evaluation.protocols.vicas`.
    tracks: how
    many true ones there are. Both are None without a truth. Pictures show one track, unless they are all black.
    """
    from thinkseg.evaluation.protocols.vicas import track_ious

    if truth is None or not expression.scored:
        return {"ious": None, "tracks": None}
    tracks = truth if predicted is None else _tracks(predicted, truth, expression.scored)
    ious = [] if predicted is None else track_ious(tracks, truth, expression.scored).tolist()
    return {"ious": ious, "tracks": truth.num_objects}


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """What two masks come to, frame by frame: J and F, float64 (F,), and pixels, int64 (F,).

    predicted: inside our mask. both, either: inside both masks, and either. claimed: inside ours and a true object,
    those inside several counted for each.
    """

    j: np.ndarray
    f: np.ndarray
    predicted: np.ndarray
    both: np.ndarray
    either: np.ndarray
    claimed: np.ndarray


def _count(predicted: Masks, truth: Masklets, frames: Sequence[int]) -> _Counted:
    """Each predicted mask is read once, and packed: that is what everything is counted on."""
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
    return _Counted(*scores(tallies), np.array(areas, np.int64), both, either, np.array(claimed, np.int64))


def _packed(masks: Masks, frame: int, size_wh: tuple[int, int]) -> np.ndarray:
    """The merged objects of a frame, packed by columns."""
    from thinkseg.ops.bitmasks import pack_columns
    from thinkseg.ops.metrics import packed

    if not isinstance(masks, Masklets):
        return pack_columns(masks.union(frame))
    if masks.size_wh != size_wh:
        raise ValueError(f"masks of {masks.size_wh} cannot be compared with a truth of {size_wh}")
    return packed(masks, frame)


def _area(masks: Masklets, frames: Sequence[int]) -> int:
    """Pixels of the merged objects, summed over frames."""
    from thinkseg.ops.metrics import packed, packed_area

    return sum(packed_area(packed(masks, frame)) for frame in frames)


def _tracks(masks: Masks, truth: Masklets, frames: Sequence[int]) -> Masklets:
    """Masks as tracks; merged ones are one track, or none where they are empty."""
    if isinstance(masks, Masklets):
        return masks
    pictures = {frame: masks.union(frame) for frame in frames}
    if not any(picture.any() for picture in pictures.values()):
        return Masklets(truth.size_wh, truth.num_frames, ())
    track = [encode(pictures[frame]) if frame in pictures else None for frame in range(truth.num_frames)]
    return Masklets(truth.size_wh, truth.num_frames, (tuple(track),))


def _video_of(expression: Expression, video: Video, size_wh: tuple[int, int], predictions: Predictions) -> np.ndarray:
    """The masks predicted for an expression, bool (T, H, W); empty ones if there are none that can be used."""
    try:
        masks = predictions.of(expression, video, size_wh)
        if masks is not None:
            return np.stack([masks.union(frame) for frame in range(len(video.frames))])
    except PredictionError:
        # That it is broken is told by the row of the expression.
        pass
    return np.zeros((len(video.frames), *size_wh[::-1]), bool)


def told(segmentation: Segmentation) -> Row:
    """What was asked and answered, without any score."""
    sample, answer, outcome = segmentation.sample, segmentation.answer, segmentation.outcome
    return {
        "id": sample.id,
        "category": sample.category,
        "query": sample.query,
        "failure": outcome.failure,
        "keyframe": outcome.keyframe,
        "boxes": answer.boxes.tolist() if answer else [],
        "replies": list(outcome.replies),
        "tokens": {"read": outcome.num_prompt_tokens, "written": outcome.num_tokens},
        "seconds": dict(segmentation.seconds),
    }


def rewarded(segmentation: Segmentation, view: View) -> Row:
    """r_k and r_s of an answer about a sample with a target, by the rules of GRPO."""
    sample = segmentation.sample
    prompt = Prompt(sample, sample_indices(len(sample.video), view.num_frames))
    rollout = Rollout(prompt, segmentation.outcome)
    return {"r_k": REWARDS["keyframe"].function(rollout), "r_s": REWARDS["boxes"].function(rollout)}
