"""What predicted masks are worth against a benchmark's truth: an expression and its masks in, a row out.

A row of a benchmark holds, besides what was asked and answered:

    {"id": "clip/3", "video": "clip", "group": "", "category": "reasoning", "target": true, "frames": 70,
     "failure": null, "j": 0.91, "f": 0.95, "empty": false}

Only frames that the benchmark has a truth for are looked at. A failure says why there are no masks, and then nothing is
earned. Without a truth, only "empty" is known.
"""

from __future__ import annotations

import numpy as np

from thinkseg.data.benchmark import Benchmark, Expression
from thinkseg.predictions import MISSING, Masks, PredictionError, Predictions
from thinkseg.results import Row
from thinkseg.rle import rle_area
from thinkseg.scores import rewarded, told
from thinkseg.types import Masklets, Segmentation, View


def judge_answer(segmentation: Segmentation, view: View, expression: Expression) -> Row:
    """The row of an answer. Raises TreeError if the truth is broken.

    r_k and r_s, the rewards, are measured where all frames have a truth: they ask where a target is *not*, too.
    """
    sample = segmentation.sample
    predicted = segmentation.masklets if segmentation.answer else None
    row = {**told(segmentation), **about(expression), "r_k": None, "r_s": None}
    row |= compare(expression, predicted, sample.truth)
    if row["target"] and len(expression.scored) == len(sample.video):
        row |= rewarded(segmentation, view)
    return row


def judge_files(benchmark: Benchmark, expression: Expression, predictions: Predictions) -> Row:
    """The row of masks that come as files. Raises TreeError or VideoError if the benchmark itself is broken."""
    video = benchmark.videos[expression.video]
    size_wh = benchmark.frames(video.id).size_wh
    truth = benchmark.truth(expression, size_wh)
    row = {"id": expression.key, "category": expression.category, "query": expression.query, **about(expression)}
    predicted = predictions.of(expression, video, size_wh)
    try:
        return {**row, "failure": MISSING if predicted is None else None, **compare(expression, predicted, truth)}
    except PredictionError as flaw:
        # One frame that is not as it should be spoils the expression, as it does in the official evaluators.
        return {**row, "failure": flaw.reason, **compare(expression, None, truth)}


def about(expression: Expression) -> Row:
    """What a row tells of its expression besides the question."""
    return {
        "video": expression.video,
        "group": expression.group,
        "target": None if expression.objects is None else bool(expression.objects),
        "frames": len(expression.scored),
    }


def compare(expression: Expression, predicted: Masks | None, truth: Masklets | None) -> Row:
    """The scores of masks; no masks are worth nothing, and nothing is known without a truth for any frame.

    j, f: means over the scored frames. empty: no pixel in any of them. Raises PredictionError or TreeError if masks
    cannot be used.
    """
    known = truth if expression.scored else None
    if predicted is None:
        worth = None if known is None else 0.0
        return {"j": worth, "f": worth, "empty": False}
    if known is None:
        return {"j": None, "f": None, "empty": not any(predicted.union(frame).any() for frame in expression.scored)}
    if isinstance(predicted, Masklets):
        from thinkseg.ops.metrics import masklets_j_and_f

        j, f = masklets_j_and_f(predicted, known, expression.scored)
        empty = not any(_seen(predicted, frame) for frame in expression.scored)
    else:
        j, f, empty = _compare_frames(expression, predicted, known)
    return {"j": float(j.mean()), "f": float(f.mean()), "empty": empty}


def _compare_frames(expression: Expression, predicted: Masks, truth: Masklets) -> tuple[np.ndarray, np.ndarray, bool]:
    """J and F of each scored frame, and whether none has a pixel; each predicted mask is decoded once."""
    from thinkseg.ops.metrics import j_and_f

    scores, empty = [], True
    for frame in expression.scored:
        mask = predicted.union(frame)
        empty = empty and not mask.any()
        scores.append(j_and_f(mask[None], truth.union(frame)[None]))
    j, f = np.concatenate(scores, axis=1)
    return j, f, empty


def _seen(masklets: Masklets, frame: int) -> bool:
    """Whether any object has a pixel in a frame."""
    return any(rle is not None and rle_area(rle) > 0 for rle in (track[frame] for track in masklets.rles))
