"""Protocols that are means over expressions: one `Mark` an expression in, a `Report` out.

An expression's J and F are means over all frames that have a truth, first and last included; several objects are one
target, their union. J&F is the mean of the mean J and the mean F.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.protocols import Report


@dataclass(frozen=True, slots=True)
class Mark:
    """What predicted masks of one expression are worth; fractions.

    category: by the benchmark's own kinds. target: there is something to find.
    j, f: None if there are no predictions. An expression whose predictions could not be used has 0 and 0.
    r: robustness, see `thinkseg.protocols.robustness`; None if it was not measured.
    empty: not one pixel is predicted in any frame that is scored.
    """

    category: str
    target: bool
    j: float | None
    f: float | None
    r: float | None = None
    empty: bool = False


def revos(marks: Sequence[Mark]) -> Report:
    """ReVOS as VISA's evaluator has it.

    - Each expression's percentages are rounded to two decimals before they enter a mean.
    - "overall" is the mean of the referring and the reasoning figure, not that of all expressions.
    - No-target expressions have J and F, and enter no other figure. Here they are reported besides, and so is how many
      are answered with empty masks.
    - What has no predictions counts 0.
    """
    figures: dict[str, float | None] = {}
    subsets = ("referring", "reasoning", "no-target")
    for subset in subsets:
        of_subset = [mark for mark in marks if mark.category == subset]
        for name, values in (("J", [m.j for m in of_subset]), ("F", [m.f for m in of_subset])):
            figures[f"{subset}/{name}"] = _mean(round(100 * (value or 0.0), 2) for value in values)
        figures[f"{subset}/J&F"] = _middle(figures[f"{subset}/J"], figures[f"{subset}/F"])
        measured = [mark.r for mark in of_subset if mark.r is not None]
        if len(measured) == len(of_subset):
            figures[f"{subset}/R"] = _mean(round(100 * r, 2) for r in measured)
    for name in ("J", "F", "J&F", "R"):
        halves = [figures.get(f"{subset}/{name}") for subset in subsets[:2]]
        figures[f"overall/{name}"] = _middle(*halves)
    figures |= no_target(marks).figures
    return Report("ReVOS (VISA): rounded a question, overall is the mean of referring and reasoning", figures)


def reasonvos(marks: Sequence[Mark]) -> Report:
    """ReasonVOS as VideoLISA's evaluator has it: the mean over expressions, those without predictions left out."""
    figures = _j_and_f([mark for mark in marks if mark.j is not None])
    return Report("ReasonVOS (VideoLISA): mean over questions that have predictions", figures)


def mevis(marks: Sequence[Mark]) -> Report:
    """MeViS: the mean over expressions. What has no predictions counts 0."""
    return Report("MeViS: mean over questions", _j_and_f(marks))


def mevis_v2(marks: Sequence[Mark]) -> Report:
    """MeViS, version 2: J and F over expressions with a target, N-acc, T-acc, and "final", the mean of J&F and these.

    The server's rules are not published. That "final" is this mean follows from published triples of figures, and that
    an answer without any pixel is an empty one is our reading: there may be a threshold.
    """
    figures = _j_and_f([mark for mark in marks if mark.target]) | dict(no_target(marks).figures)
    parts = [figures["J&F"], figures["N-acc"], figures["T-acc"]]
    known = [part for part in parts if part is not None]
    figures["final"] = sum(known) / 3 if len(known) == 3 else None
    return Report("MeViS v2: questions with a target; N-acc, T-acc; final is the mean of J&F and these", figures)


def refytvos() -> Report:
    """Ref-YouTube-VOS: only the server has the truth, so there are no figures. Predictions are handed in as a zip."""
    return Report("Ref-YouTube-VOS: scored by the server only", {})


def refdavis_b(marks: Sequence[Mark]) -> Report:
    """Ref-DAVIS17, protocol B, as VISA and GLUS have it: every expression by itself, and the mean over all.

    Other than in protocol A (`thinkseg.protocols.refdavis`), objects do not compete for pixels, void pixels are
    background, and annotators are pooled. Its figures cannot be compared with those of A.
    """
    return Report("Ref-DAVIS17 B (VISA): mean over questions, each by itself", _j_and_f(marks))


def no_target(marks: Sequence[Mark]) -> Report:
    """N-acc: share of no-target expressions answered with empty masks. T-acc: of the others, not with empty ones.

    An expression without predictions is wrong either way.
    """
    answered = {True: "T-acc", False: "N-acc"}
    figures = {
        name: _mean(100.0 * (mark.j is not None and mark.empty != target) for mark in marks if mark.target == target)
        for target, name in answered.items()
    }
    return Report("no-target: answered with empty masks where, and only where, there is none", figures)


def _j_and_f(marks: Sequence[Mark]) -> dict[str, float | None]:
    j, f = _mean(100 * (mark.j or 0.0) for mark in marks), _mean(100 * (mark.f or 0.0) for mark in marks)
    return {"J": j, "F": f, "J&F": _middle(j, f)}


def _middle(first: float | None, second: float | None) -> float | None:
    """The mean of two figures; None if one is."""
    return None if first is None or second is None else (first + second) / 2


def _mean(values: Iterable[float]) -> float | None:
    """Mean as NumPy adds up, which is how all evaluators do; None of nothing."""
    listed = list(values)
    return float(np.mean(listed)) if listed else None
