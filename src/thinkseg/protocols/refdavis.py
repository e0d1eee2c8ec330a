"""Ref-DAVIS17, protocol A (ReferFormer), the published one: all objects of a video at once, one annotator a run.

    labels = merge_labels(masks of all objects in a frame)                  for each frame of a run's video
    j, f = object_scores(predicted labels, true labels)                     for each video
    protocol_a({"anno_0": [(j, f) of each video], ...})

Objects compete for pixels; which object is which does not count, for predictions are matched to the truth as in the
unsupervised task of DAVIS. J and F are means over all objects of all videos in a run, and then over the four runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from thinkseg.ops.metrics import j_and_f
from thinkseg.protocols import Report

VOID = 255
"""Label of pixels that were never annotated."""

MAX_OBJECTS = 20
"""Most objects that DAVIS lets anyone propose for a video."""

ObjectScores = tuple[np.ndarray, np.ndarray]
"""J and F of each true object of a video, means over its frames, float64 (objects,) each."""


def merge_labels(masks: Iterable[np.ndarray], size_wh: tuple[int, int]) -> np.ndarray:
    """One label map of a frame's masks, uint8 (H, W): object i of the list has label i + 1, 0 is background.

    Where masks overlap the first one has the pixel: scores are hard, and the highest of equals is the first.
    """
    labels = np.zeros(size_wh[::-1], np.uint8)
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


def protocol_a(runs: Mapping[str, Sequence[ObjectScores]]) -> Report:
    """Figures of runs, by name "J", "F" and "J&F" their means, and as "<run>/J" those of each run.

    runs: the scores of all videos, by run; the benchmark has four, one for each annotator and what was seen.
    """
    figures: dict[str, float | None] = {}
    for run, videos in runs.items():
        for name, values in (("J", [j for j, _ in videos]), ("F", [f for _, f in videos])):
            pooled = np.concatenate(values) if values else np.zeros(0)
            figures[f"{run}/{name}"] = float(100 * pooled.mean()) if len(pooled) else None
        figures[f"{run}/J&F"] = _mean([figures[f"{run}/J"], figures[f"{run}/F"]])
    overall = {name: _mean([figures[f"{run}/{name}"] for run in runs]) for name in ("J", "F", "J&F")}
    protocol = f"Ref-DAVIS17 A (ReferFormer): objects matched, void left out, mean of {len(runs)} runs"
    return Report(protocol, overall | figures)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of figures; None if one is not known, or there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
