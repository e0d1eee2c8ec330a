"""ViCaS: average precision of tracks, the metric of its language-guided video instance segmentation (LG-VIS).

Tracks of a prompt are compared over the frames that people annotated, and matched within the prompt; precision and
recall cover the tracks of all prompts. All tracks have the same confidence. AP is computed at IoU thresholds of 0.50,
0.55, ... 0.95; mAP is the mean over all ten.

The official evaluator has quirks, which are reproduced by default:

- A predicted track takes the *last* free true track with enough overlap, not the one with the largest overlap.
- Tracks are in the order that NumPy's quicksort leaves equal values in. That order decides the precision, and can
  differ between processors.
- More than ten predicted tracks of a prompt that has true ones are an error.

With corrected=True a track takes the best true one, tracks keep their order, and the first ten of a prompt count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Bootstrap
from thinkseg.evaluation.protocols.base import Protocol, category_metrics
from thinkseg.ops.metrics import areas
from thinkseg.storage.run_folder import Row
from thinkseg.types import Masklets

THRESHOLDS = np.arange(0.5, 0.95 + 1e-4, 0.05)

ALL = tuple(range(len(THRESHOLDS)))
AT = {"AP@50": 0, "AP@75": 5, "AP@90": 8}
"""Metrics besides mAP: the position of their threshold."""

MAX_TRACKS = 10
"""Most predicted tracks of a prompt."""


def protocol(rows: Sequence[Row], corrected: bool) -> Protocol:
    """Returns the metrics of ViCaS' evaluator, or without its quirks, and the common ones."""
    levels = {"mAP": ALL, **{name: (position,) for name, position in AT.items()}}
    precisions = {f"LG-VIS/{name}": AveragePrecision(positions, corrected) for name, positions in levels.items()}
    how = "corrected: best matches, first ten tracks" if corrected else "the official evaluator, quirks included"
    rules = (
        f"LG-VIS: AP of tracks ({how}); the others, which ViCaS does not report: mean over expressions with a target"
    )
    return Protocol(rules, category_metrics(rows) | precisions)


def track_ious(predicted: Masklets, truth: Masklets, frames: Sequence[int]) -> np.ndarray:
    """Returns the IoU of each predicted with each true track, float32 (N, M): summed intersections over summed unions.

    0 if both tracks are empty. Raises ValueError if the two differ in size or length.
    """
    ious = np.zeros((predicted.num_objects, truth.num_objects), np.float32)
    for ours in range(len(ious)):
        for true in range(truth.num_objects):
            both, either = areas(_one(predicted, ours), _one(truth, true), frames).sum(axis=0)
            ious[ours, true] = both / either if either > 0 else 0.0
    return ious


def match_prompt(ious: np.ndarray, *, corrected: bool = False) -> np.ndarray:
    """Returns which predicted tracks of a prompt have a true one at each threshold, bool (10, N).

    ious: (N, M), see `track_ious`. Raises SettingsError for more than ten tracks where there are true ones, unless
    `corrected`.
    """
    num_predicted, num_true = ious.shape
    if corrected:
        ious = ious[:MAX_TRACKS]
    elif num_true and num_predicted:
        if num_predicted > MAX_TRACKS:
            raise SettingsError(
                f"ViCaS: a prompt has {num_predicted} predicted tracks; the official evaluator accepts {MAX_TRACKS}, "
                "--corrected scores the first ones"
            )
        ious = ious[_order(num_predicted, corrected)]
    take = _best if corrected else _last
    found = np.zeros((len(THRESHOLDS), len(ious)), bool)
    for level, threshold in enumerate(THRESHOLDS):
        free = np.ones(num_true, bool)
        for track, overlaps in enumerate(ious):
            taken = take(overlaps, free & (overlaps >= threshold))
            if taken is not None:
                free[taken], found[level, track] = False, True
    return found


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The mean of AP over some thresholds (positions in `THRESHOLDS`), a `Metric` of rows with "ious" and "tracks".

    A row is a prompt, see `thinkseg.evaluation.sample_metrics.track_metrics`. 0 without predicted tracks; 100 with
    predicted but without true tracks.
    """

    levels: tuple[int, ...]
    corrected: bool = False

    def __call__(self, rows: Sequence[Row], bootstrap: Bootstrap, computed: Mapping[str, np.ndarray]) -> np.ndarray:
        prompts = [row for row in rows if row.get("ious") is not None]
        if not prompts:
            return np.full(len(bootstrap.weights), np.nan)
        videos = bootstrap.columns(prompts)
        matches = [match_prompt(_matrix(row), corrected=self.corrected)[list(self.levels)] for row in prompts]
        num_true = np.array([row["tracks"] for row in prompts])
        found = np.concatenate(matches, axis=1)
        order = _order(found.shape[1], self.corrected)
        found, owners = found[:, order], np.repeat(videos, [match.shape[1] for match in matches])[order]
        return np.array(
            [_mean_ap(found, counts[owners], float(counts[videos] @ num_true)) for counts in bootstrap.weights]
        )


def _mean_ap(found: np.ndarray, times: np.ndarray, num_true: float) -> float:
    """Returns AP in percent, the mean over thresholds, in float32 as the evaluator does.

    found: bool (levels, N), tracks in order. times: float64 (N,), how often each track counts.
    """
    if times.sum() == 0:
        return 0.0
    if num_true == 0:
        return 100.0
    precision = np.array([_average_precision(level, times.astype(np.float32), num_true) for level in found])
    return np.mean(precision * np.float32(100)).item()


def _average_precision(found: np.ndarray, times: np.ndarray, num_true: float) -> np.float32:
    """Returns the area under the interpolated precision-recall curve."""
    hits, misses = np.cumsum(found * times), np.cumsum(~found * times)
    edge = np.zeros(1, np.float32)
    precision = np.concatenate([edge, hits / (hits + misses + 1e-8), edge])
    recall = np.concatenate([edge, hits / num_true, edge + 1])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1])


def _matrix(row: Row) -> np.ndarray:
    return np.array(row["ious"], np.float32).reshape(len(row["ious"]), row["tracks"])


def _order(count: int, corrected: bool) -> np.ndarray:
    """Returns the order of `count` tracks of the same confidence, see the module."""
    return np.argsort(-np.ones(count, np.float32), kind="stable" if corrected else None)


def _last(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.flatnonzero(allowed)[-1]) if allowed.any() else None


def _best(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.argmax(np.where(allowed, overlaps, -1.0))) if allowed.any() else None


def _one(masklets: Masklets, obj: int) -> Masklets:
    return Masklets(masklets.size_wh, masklets.num_frames, (masklets.rles[obj],))
