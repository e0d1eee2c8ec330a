"""ReVOS: the rules of its evaluator (VISA), and the robustness of masks where nothing is meant."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from thinkseg.data.benchmarks.base import NO_TARGET, REASONING, REFERRING
from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Measure
from thinkseg.evaluation.protocols.base import OVERALL, Protocol, _answers, _anything, _is, _with_middle
from thinkseg.storage.run_folder import Row


def revos(rows: Sequence[Row]) -> Protocol:
    """ReVOS as VISA's evaluator has it.

    - Each expression's percentages are rounded to two decimals before they enter a mean.
    - Kinds go by what the list says, also where it names no target.
    - "overall" is the mean of the referring and the reasoning figure, not that of all expressions.
    - No-target expressions enter no figure of VISA's. What they are answered with is N-acc.
    - R looks at expressions with a target: see `thinkseg.evaluation.protocols.revos`.

    gIoU, cIoU, T-acc and N-acc are no part of VISA's report, and those that are overall are over all questions.
    """
    plan: dict[str, Measure] = {}
    halves = (REFERRING, REASONING)
    scores = {"J": "j", "F": "f", "R_visa255": "r_visa255", "R_area": "r_area"}
    for kind in halves:
        among = partial(_is, kind)
        means = {f"{kind}/{head}": Mean(partial(_rounded, key=key), among, True) for head, key in scores.items()}
        plan |= _with_middle(means, kind) | _answers(kind, among)
    overall = {f"{OVERALL}/{head}": MeanOfMetrics(tuple(f"{kind}/{head}" for kind in halves)) for head in scores}
    plan |= _answers(NO_TARGET, partial(_is, NO_TARGET))
    plan |= _with_middle(overall, OVERALL) | _answers(OVERALL, _anything)
    rules = (
        "VISA: scores of a question in percent rounded to 2 decimals; overall is the mean of referring and reasoning"
    )
    return Protocol(f"{rules}; no-target apart; R_visa255 as published, R_area as meant", plan)


def _rounded(row: Row, key: str) -> float | None:
    """In percent, to two decimals."""
    value = row.get(key)
    return None if value is None else round(100 * value, 2)


def r_visa255(outside: np.ndarray, surplus: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as published numbers came to be, float64 (T,).

    The evaluator of VISA reads predictions from pictures of 0 and 255, and computes (1 - truth) * prediction in bytes
    that wrap. So a wrongly predicted pixel weighs 255 and not 1, and R is near the share of frames with almost none. A
    predicted pixel that n > 1 true objects share weighs n - 1, although it is right: (1 - n) * 255 is n - 1 modulo 256,
    for 255 is -1. (It wraps once more where more than 255 objects share a pixel, which is not followed.)

    All int64 (T,), in pixels. outside: predicted outside every true object. surplus: over the predicted pixels inside,
    the number of true objects that a pixel belongs to, less one. foreground: inside any annotated object.
    """
    return _robustness(255 * outside + surplus, foreground)


def r_area(outside: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """R as it is meant, every wrongly predicted pixel weighing 1: float64 (T,), arguments as above."""
    return _robustness(outside, foreground)


def _robustness(wrong: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    return np.maximum(1 - wrong / (foreground + 1e-6), 0.0)
