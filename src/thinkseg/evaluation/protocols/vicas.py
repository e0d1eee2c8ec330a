"""Average precision of tracks, the figure of ViCaS's language-guided video instance segmentation (LG-VIS).

In: for each prompt the predicted and the true tracks, over the frames that people annotated. Out: AP, at one or several
thresholds of the tracks' IoU, of 0.50, 0.55, ... 0.95; mAP is the mean over all ten. A prompt's tracks are matched by
themselves; precision and recall are over the tracks of all prompts together. No track is surer than another.

The official evaluator has quirks, and with them, which is the default, figures are those it gives:

- A predicted track takes the *last* free true track that it overlaps enough, not the one that it overlaps most.
- Tracks are put in whatever order NumPy's quick sort leaves equals. That order decides the precision, and can differ
  between processors.
- More than ten predicted tracks for a prompt that has true ones end it with an error; here, too.

With fixed=True a track takes the best true one, tracks keep their order, and the first ten of a prompt count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Bootstrap
from thinkseg.evaluation.protocols.base import Protocol, _by_kind
from thinkseg.ops.metrics import areas
from thinkseg.storage.run_folder import Row
from thinkseg.types import Masklets

THRESHOLDS = np.arange(0.5, 0.95 + 1e-4, 0.05)

ALL = tuple(range(len(THRESHOLDS)))
AT = {"AP@50": 0, "AP@75": 5, "AP@90": 8}
"""Figures besides mAP, by the place of their threshold."""

MAX_TRACKS = 10
"""Most predicted tracks of a prompt that count."""


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


def match_prompt(ious: np.ndarray, *, fixed: bool = False) -> np.ndarray:
    """Which predicted tracks of a prompt have a true one at each threshold, bool (10, N).

    ious: (N, M), see `track_ious`. Raises SettingsError if without `fixed` there are more than ten tracks where there
    are true ones.
    """
    num_predicted, num_true = ious.shape
    if fixed:
        ious = ious[:MAX_TRACKS]
    elif num_true and num_predicted:
        if num_predicted > MAX_TRACKS:
            raise SettingsError(
                f"a prompt has {num_predicted} predicted tracks, and the official evaluator takes {MAX_TRACKS} at "
                "most: use --corrected, with which the first ones count"
            )
        ious = ious[_order(num_predicted, fixed)]
    take = _best if fixed else _last
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
    """The mean of AP at some thresholds, given by their places, over all rows with "ious": a `summary.Measure`.

    A row is a prompt. "ious" is what `track_ious` gives, as lists, and "tracks" is how many true ones there are. 0
    without any predicted track, and 100 if there are such but no true ones.
    """

    levels: tuple[int, ...]
    fixed: bool = False

    def __call__(self, rows: Sequence[Row], draws: Bootstrap, known: Mapping[str, np.ndarray]) -> np.ndarray:
        prompts = [row for row in rows if row.get("ious") is not None]
        if not prompts:
            return np.full(len(draws.weights), np.nan)
        videos = draws.videos(prompts)
        matches = [match_prompt(_matrix(row), fixed=self.fixed)[list(self.levels)] for row in prompts]
        num_true = np.array([row["tracks"] for row in prompts])
        found = np.concatenate(matches, axis=1)
        order = _order(found.shape[1], self.fixed)
        found, owners = found[:, order], np.repeat(videos, [match.shape[1] for match in matches])[order]
        return np.array([_mean_ap(found, drawn[owners], float(drawn[videos] @ num_true)) for drawn in draws.weights])


def _mean_ap(found: np.ndarray, times: np.ndarray, num_true: float) -> float:
    """AP in percent, the mean over thresholds; in float32, as the evaluator does.

    found: bool (levels, N), tracks in order. times: float64 (N,), how often each counts.
    """
    if times.sum() == 0:
        return 0.0
    if num_true == 0:
        return 100.0
    precision = np.array([_average_precision(level, times.astype(np.float32), num_true) for level in found])
    return np.mean(precision * np.float32(100)).item()


def _average_precision(found: np.ndarray, times: np.ndarray, num_true: float) -> np.float32:
    """Area below the precision that is still reached at each recall."""
    hits, misses = np.cumsum(found * times), np.cumsum(~found * times)
    edge = np.zeros(1, np.float32)
    precision = np.concatenate([edge, hits / (hits + misses + 1e-8), edge])
    recall = np.concatenate([edge, hits / num_true, edge + 1])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1])


def _matrix(row: Row) -> np.ndarray:
    return np.array(row["ious"], np.float32).reshape(len(row["ious"]), row["tracks"])


def _order(count: int, fixed: bool) -> np.ndarray:
    """In which order tracks count, that are all as sure: see above."""
    return np.argsort(-np.ones(count, np.float32), kind="stable" if fixed else None)


def _last(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.flatnonzero(allowed)[-1]) if allowed.any() else None


def _best(overlaps: np.ndarray, allowed: np.ndarray) -> int | None:
    return int(np.argmax(np.where(allowed, overlaps, -1.0))) if allowed.any() else None


def _one(masklets: Masklets, obj: int) -> Masklets:
    return Masklets(masklets.size_wh, masklets.num_frames, (masklets.rles[obj],))


def vicas(rows: Sequence[Row], fixed: bool) -> Protocol:
    """LG-VIS as ViCaS' evaluator has it, or without its quirks: see `thinkseg.evaluation.protocols.vicas`."""
    tracks = {"mAP": ALL, **{name: (place,) for name, place in AT.items()}}
    precisions = {f"LG-VIS/{name}": AveragePrecision(levels, fixed) for name, levels in tracks.items()}
    how = "fixed: best matches, first ten tracks" if fixed else "the official evaluator, quirks included"
    rules = f"LG-VIS: AP of tracks ({how}); the others, which ViCaS does not report: mean over questions with a target"
    return Protocol(rules, _by_kind(rows) | precisions)
