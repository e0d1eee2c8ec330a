"""Ref-DAVIS17, protocol A (ReferFormer), the published one: all objects of a video at once, one annotator a run.

    labels = merge_labels(the masks of all objects in a run's video, shape)
    j, f = object_scores(labels, true labels)

Objects compete for pixels; which object is which does not count, for predictions are matched to the truth as in the
unsupervised task of DAVIS. What is made of the scores is told in `thinkseg.evaluation.protocols.base`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Measure
from thinkseg.evaluation.protocols.base import J_AND_F, Protocol, _is_question, _of_group, _score, _with_middle
from thinkseg.ops.metrics import j_and_f
from thinkseg.storage.run_folder import Row

VOID = 255
"""Label of pixels that were never annotated."""

MAX_OBJECTS = 20
"""Most objects that DAVIS lets anyone propose for a video."""

ObjectScores = tuple[np.ndarray, np.ndarray]
"""J and F of each true object of a video, means over its frames, float64 (objects,) each."""


def merge_labels(masks: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """One map of the masks of several objects, uint8 of this shape: object i has label i + 1, 0 is background.

    masks: bool, each of this shape, of a frame or a video. Where masks overlap the first one has the pixel: scores are
    hard, and the highest of equals is the first.
    """
    labels = np.zeros(shape, np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[(mask != 0) & (labels == 0)] = number
    return labels


def object_scores(predicted: np.ndarray, truth: np.ndarray) -> ObjectScores:
    """J and F of each true object under the best matching of predicted to true objects.

    predicted, truth: labels, uint8 (T, H, W); 255 in the truth is void, and both masks lose these pixels. All frames
    count. True objects are those up to the highest label in the *first* frame; one that comes later is not scored.
    Predicted ones are those up to the highest label in any frame. The matching makes the sum of J&F largest.

    Raises ValueError if the shapes differ, or more than 20 objects are predicted.
    """
    from scipy.optimize import linear_sum_assignment

    if predicted.shape != truth.shape or truth.ndim != 3 or len(truth) == 0:
        raise ValueError(f"labels to compare must share a shape (T, H, W): got {predicted.shape} and {truth.shape}")
    void = truth == VOID
    known = np.where(void, np.uint8(0), truth)
    num_true, num_predicted = int(known[0].max()), int(predicted.max())
    if num_predicted > MAX_OBJECTS:
        raise ValueError(f"{num_predicted} objects are predicted, where DAVIS takes at most {MAX_OBJECTS}")
    # Where fewer objects are predicted than there are, empty ones fill up.
    rows = max(num_predicted, num_true)
    scores = np.zeros((2, rows, num_true))
    for ours in range(rows):
        for true in range(num_true):
            pair = j_and_f(predicted == ours + 1, known == true + 1, void)
            scores[:, ours, true] = [one.mean() for one in pair]
    matched, objects = linear_sum_assignment(-scores.mean(axis=0))
    in_order = np.argsort(objects)
    j, f = scores[:, matched[in_order], objects[in_order]]
    return j, f


def refdavis(rows: Sequence[Row]) -> Protocol:
    """Ref-DAVIS17, both protocols. Their figures cannot be compared.

    A (ReferFormer), the published one: rows of objects, see `thinkseg.evaluation.protocols.refdavis`; J and F are
    means over the
    objects of all videos in a run, and then over the runs, one for each annotator and what was seen.
    B (VISA, GLUS): every expression by itself; objects do not compete for pixels, void pixels are background, and
    annotators are pooled.
    """
    plan: dict[str, Measure] = {}
    runs = [f"A, {run}" for run in sorted({row["group"] for row in rows})]
    for run in runs:
        among = partial(_in_run, run.removeprefix("A, "))
        means = {f"{run}/{head}": Mean(partial(_score, key=key), among) for head, key in J_AND_F.items()}
        plan |= _with_middle(means, run)
    plan |= {f"A/{head}": MeanOfMetrics(tuple(f"{run}/{head}" for run in runs)) for head in ("J", "F", "J&F") if runs}
    rules = "A (ReferFormer): objects matched, void left out, mean of the runs; B (VISA): every question by itself"
    return Protocol(rules, plan | _of_group("B", _is_question))


def _in_run(run: str, row: Row) -> bool:
    return "object" in row and bool(row["group"] == run)
