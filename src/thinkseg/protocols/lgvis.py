"""Average precision of tracks, the figure of ViCaS's language-guided video instance segmentation (LG-VIS).

In: for each prompt the predicted and the true tracks, over the frames that people annotated. Out: a `Report` with mAP,
the mean over IoU thresholds 0.50, 0.55, ... 0.95, and AP at three of them. A prompt's tracks are matched by themselves;
precision and recall are over the tracks of all prompts together.

The official evaluator has quirks, and with them, which is the default, figures are those it gives:

- A predicted track takes the *last* free true track that it overlaps enough, not the one that it overlaps most.
- Ties in score are in whatever order NumPy's quick sort leaves them, and if no scores are given all are tied. That
  order decides the precision, and can differ between processors.
- More than ten predicted tracks for a prompt that has true ones end it with an error; here, too.

With fixed=True a track takes the best true one, ties keep their order, and the best ten tracks of a prompt count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.ops.metrics import areas
from thinkseg.protocols import Report
from thinkseg.types import Masklets

THRESHOLDS = np.arange(0.5, 0.95 + 1e-4, 0.05)
REPORTED = {"AP@50": 0, "AP@75": 5, "AP@90": 8}
"""Figures besides mAP, by the place of their threshold."""

MAX_TRACKS = 10
"""Most predicted tracks of a prompt that count."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The predicted tracks of one prompt.

    found: bool (10, N), whether a track has a true one, at each threshold. scores: float32 (N,). num_true: true tracks.
    """

    found: np.ndarray
    scores: np.ndarray
    num_true: int


def track_ious(predicted: Masklets, truth: Masklets, frames: Sequence[int]) -> np.ndarray:
    """IoU of each predicted with each true track, float32 (N, M): sum of intersections over sum of unions in `frames`.

    0 where neither track has a pixel. Raises ValueError if the two are not of one size and length.
    """
    ious = np.zeros((predicted.num_objects, truth.num_objects), np.float32)
    for ours in range(len(ious)):
        for true in range(truth.num_objects):
            both, either = areas(_one(predicted, ours), _one(truth, true), frames).sum(axis=0)
            ious[ours, true] = both / either if either > 0 else 0.0
    return ious


def match_prompt(ious: np.ndarray, scores: np.ndarray | None = None, *, fixed: bool = False) -> Matches:
    """Matches the tracks of one prompt, those with the highest scores first.

    ious: (N, M), see `track_ious`. scores: (N,), 1 if left out. Raises ValueError if there are other than N scores, or
    without `fixed` more than ten tracks where there are true ones.
    """
    num_predicted, num_true = ious.shape
    ranks = np.ones(num_predicted, np.float32) if scores is None else np.asarray(scores, np.float32)
    if ranks.shape != (num_predicted,):
        raise ValueError(f"there must be one score for each predicted track: got {ranks.shape} for {num_predicted}")
    if fixed:
        order = np.argsort(-ranks, kind="stable")[:MAX_TRACKS]
        ious, ranks = ious[order], ranks[order]
    elif num_true and num_predicted:
        if num_predicted > MAX_TRACKS:
            raise ValueError(f"a prompt has {num_predicted} predicted tracks; the evaluator takes {MAX_TRACKS}")
        order = np.argsort(-1.0 * ranks)
        ious, ranks = ious[order], ranks[order]
    take = _best if fixed else _last
    found = np.zeros((len(THRESHOLDS), len(ranks)), bool)
    for level, threshold in enumerate(THRESHOLDS):
        free = np.ones(num_true, bool)
        for track, overlaps in enumerate(ious):
            taken = take(overlaps, free & (overlaps >= threshold))
            if taken is not None:
                free[taken], found[level, track] = False, True
    return Matches(found, ranks, num_true)


def lgvis(prompts: Sequence[Matches], *, fixed: bool = False) -> Report:
    """mAP and AP over all prompts; 0 without any predicted track, and 100 if there are such but no true ones.

    fixed: as the prompts were matched. Raises ValueError if there are no prompts.
    """
    if not prompts:
        raise ValueError("there are no prompts to take an average precision of")
    found = np.concatenate([prompt.found for prompt in prompts], axis=1)
    scores = np.concatenate([prompt.scores for prompt in prompts])
    num_true = float(sum(prompt.num_true for prompt in prompts))
    if found.size == 0:
        precision = np.zeros(len(THRESHOLDS), np.float32)
    elif num_true == 0:
        precision = np.ones(len(THRESHOLDS), np.float32)
    else:
        order = np.argsort(-1.0 * scores, kind="stable" if fixed else None)
        precision = np.array([_average_precision(level[order], num_true) for level in found], np.float32)
    percent = precision * 100.0
    figures: dict[str, float | None] = {"mAP": np.mean(percent).item()}
    figures |= {name: percent[place].item() for name, place in REPORTED.items()}
    how = "best matches, stable order" if fixed else "as the official evaluator, quirks included"
    return Report(f"LG-VIS (ViCaS): track AP, {how}", figures)


def _average_precision(found: np.ndarray, num_true: float) -> np.float32:
    """Area below the precision that is still reached at each recall; in float32, as the evaluator does."""
    hits, misses = np.cumsum(found.astype(np.float32)), np.cumsum((~found).astype(np.float32))
    edge = np.zeros(1, np.float32)
    precision = np.concatenate([edge, hits / (hits + misses + 1e-8), edge])
    recall = np.concatenate([edge, hits / num_true, edge + 1])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1])


def _last(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.flatnonzero(allowed)[-1]) if allowed.any() else None


def _best(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.argmax(np.where(allowed, overlaps, -1.0))) if allowed.any() else None


def _one(masklets: Masklets, obj: int) -> Masklets:
    return Masklets(masklets.size_wh, masklets.num_frames, (masklets.rles[obj],))
