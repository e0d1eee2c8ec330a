"""Ref-DAVIS17: protocol A (ReferFormer), which papers report, scores all objects of a video together.

    labels = merge_labels(masks of all objects of a video in one annotation run, shape)
    j, f = object_scores(labels, true labels)

Objects compete for pixels. Predicted objects are matched to the true ones, as in the unsupervised task of DAVIS, so
that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Metric
from thinkseg.evaluation.protocols.base import J_AND_F, Protocol, group_metrics, is_expression, value_of, with_j_and_f
from thinkseg.ops.metrics import j_and_f
from thinkseg.storage.run_folder import Row

VOID = 255
"""Label of pixels without an annotation."""

MAX_OBJECTS = 20
"""Most objects that DAVIS accepts for a video."""

ObjectScores = tuple[np.ndarray, np.ndarray]
"""J and F of each true object of a video, means over its frames, float64 (objects,) each."""


def protocol(rows: Sequence[Row]) -> Protocol:
    """Returns the metrics of both protocols, which cannot be compared with each other.

    A (ReferFormer), which papers report: J and F are means over the objects of all videos of an annotation run, then
    over the runs. A run is one annotator, after seeing the first frame or the full video.
    B (VISA, GLUS): each expression alone. Objects do not compete for pixels, void pixels are background, and the
    annotators are pooled.
    """
    metrics: dict[str, Metric] = {}
    names = sorted({row["annotation_run"] for row in rows})
    for name in names:
        objects = partial(_is_object_of, name)
        means = {f"A, {name}/{metric}": Mean(partial(value_of, key=key), objects) for metric, key in J_AND_F.items()}
        metrics |= with_j_and_f(means, f"A, {name}")
    if names:
        metrics |= {f"A/{one}": MeanOfMetrics(tuple(f"A, {name}/{one}" for name in names)) for one in ("J", "F", "J&F")}
    rules = "A (ReferFormer): objects matched, void ignored, mean over annotation runs; B (VISA): each expression alone"
    return Protocol(rules, metrics | group_metrics("B", is_expression))


def merge_labels(masks: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Returns one label map of several objects, uint8 of this shape: i + 1 for object i, 0 for background.

    masks: bool, of this shape, of a frame or a video. Where masks overlap the first one wins: scores are binary, and
    the highest of equal scores is the first.
    """
    labels = np.zeros(shape, np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[(mask != 0) & (labels == 0)] = number
    return labels


def object_scores(predicted: np.ndarray, truth: np.ndarray) -> ObjectScores:
    """Returns J and F of each true object under the matching with the largest sum of J&F.

    predicted, truth: labels, uint8 (T, H, W); pixels of 255 in the truth are void and removed from both masks. All
    frames count. True objects are those up to the highest label in the *first* frame: one that appears later is not
    scored. Predicted objects are those up to the highest label in any frame.

    Raises ValueError if the shapes differ, or for more than 20 predicted objects.
    """
    from scipy.optimize import linear_sum_assignment

    if predicted.shape != truth.shape or truth.ndim != 3 or len(truth) == 0:
        raise ValueError(f"labels: shapes must be one (T, H, W), not {predicted.shape} and {truth.shape}")
    void = truth == VOID
    known = np.where(void, np.uint8(0), truth)
    num_true, num_predicted = int(known[0].max()), int(predicted.max())
    if num_predicted > MAX_OBJECTS:
        raise ValueError(f"labels: {num_predicted} predicted objects; DAVIS accepts at most {MAX_OBJECTS}")
    # Empty objects fill up a prediction with fewer objects than the truth.
    scores = np.zeros((2, max(num_predicted, num_true), num_true))
    for ours in range(scores.shape[1]):
        for true in range(num_true):
            pair = j_and_f(predicted == ours + 1, known == true + 1, void)
            scores[:, ours, true] = [one.mean() for one in pair]
    matched, objects = linear_sum_assignment(-scores.mean(axis=0))
    in_order = np.argsort(objects)
    j, f = scores[:, matched[in_order], objects[in_order]]
    return j, f


def _is_object_of(run: str, row: Row) -> bool:
    return "object" in row and bool(row["annotation_run"] == run)
