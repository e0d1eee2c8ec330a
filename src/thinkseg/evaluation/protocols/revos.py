"""ReVOS by the rules of its evaluator (VISA), and its robustness: how little is predicted outside the targets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from thinkseg.data.benchmarks.base import NO_TARGET, REASONING, REFERRING
from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Metric
from thinkseg.evaluation.protocols.base import OVERALL, Protocol, answer_metrics, any_row, has_category, with_j_and_f
from thinkseg.storage.run_folder import Row

KEYS = {"J": "j", "F": "f", "robustness_visa255": "robustness_visa255", "robustness_area": "robustness_area"}
"""Keys of a row by metric of VISA."""


def protocol(rows: Sequence[Row]) -> Protocol:
    """Returns the metrics of VISA's evaluator.

    - Each expression's percentages are rounded to two decimals before they enter a mean.
    - Categories are those of the list, also for an expression of another category that names no target.
    - "overall" is the mean of the referring and the reasoning value, not the mean over all expressions.
    - No-target expressions enter none of VISA's metrics. N-acc covers their answers.
    - Robustness covers expressions with a target.

    The metrics besides J, F and robustness are not VISA's; their overall values cover all expressions.
    """
    metrics: dict[str, Metric] = {}
    halves = (REFERRING, REASONING)
    for category in halves:
        where = partial(has_category, category)
        means = {f"{category}/{metric}": Mean(partial(_rounded, key=key), where, True) for metric, key in KEYS.items()}
        metrics |= with_j_and_f(means, category) | answer_metrics(category, where)
    overall = {f"{OVERALL}/{metric}": MeanOfMetrics(tuple(f"{half}/{metric}" for half in halves)) for metric in KEYS}
    metrics |= answer_metrics(NO_TARGET, partial(has_category, NO_TARGET))
    metrics |= with_j_and_f(overall, OVERALL) | answer_metrics(OVERALL, any_row)
    rules = "VISA: percentages of an expression rounded to 2 decimals; overall is the mean of referring and reasoning"
    return Protocol(f"{rules}; no-target apart; robustness_visa255 as published, robustness_area as intended", metrics)


def _rounded(row: Row, key: str) -> float | None:
    """Returns a value in percent, rounded to two decimals."""
    value = row.get(key)
    return None if value is None else round(100 * value, 2)


def robustness_visa255(outside: np.ndarray, surplus: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Returns R as in published tables, float64 (T,).

    VISA's evaluator reads predictions from images of 0 and 255, and computes (1 - truth) * prediction in bytes that
    wrap. So a false-positive pixel weighs 255 instead of 1, and R is close to the share of frames with almost none. A
    predicted pixel that n > 1 true objects share weighs n - 1, although it is correct: (1 - n) * 255 is n - 1 modulo
    256, for 255 is -1. (It wraps once more where more than 255 objects share a pixel, which is not reproduced.)

    All int64 (T,), in pixels. outside: predicted outside every true object. surplus: summed over the predicted pixels
    inside, the number of true objects at a pixel minus one. foreground: inside any annotated object.
    """
    return _robustness(255 * outside + surplus, foreground)


def robustness_area(outside: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Returns R as intended, float64 (T,): each false-positive pixel weighs 1. Arguments as above."""
    return _robustness(outside, foreground)


def _robustness(wrong: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    return np.maximum(1 - wrong / (foreground + 1e-6), 0.0)
