"""Which figures each benchmark reports: the kinds of questions in, a `Protocol` out.

Figures are named "<group>/<figure>", where a group is a kind of question, all of them ("overall"), or what a protocol
calls its own. For all benchmarks:

J, F        of DAVIS: an expression's are means over all frames that have a truth, first and last included; several
            objects are one target, their union; the figure is the mean over expressions
J&F         the mean of J and F
gIoU        the mean over expressions of pixels in both masks over pixels in either, each summed over all frames; 1
            where nothing was predicted and there is nothing
cIoU        the same pixels summed over all expressions first, so that large objects weigh more (LISA)
T-acc       share of questions with a target that are answered with masks that are not empty
N-acc       share of those without one that are answered with empty ones

All but N-acc look at questions with a target alone. An answer without usable masks earns 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Measure, Plan, Ratio, questions
from thinkseg.evaluation.predictions import MISSING
from thinkseg.storage.run_folder import Row

OVERALL = "overall"

Among = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a benchmark's figures come to be. rules: in words."""

    rules: str
    plan: Plan


def mean_of_all(rows: Sequence[Row]) -> Protocol:
    """Means over questions by kind and overall, as MeViS has it."""
    return Protocol("mean over all questions with a target", _by_kind(rows))


def reasonvos(rows: Sequence[Row]) -> Protocol:
    """ReasonVOS as VideoLISA's evaluator has it: frames with a mask only, and what has no predictions is left out."""
    rules = "VideoLISA: mean over questions, frames with a mask only; questions without predictions left out"
    return Protocol(rules, _by_kind(rows, _is_there))


def mevis_v2(rows: Sequence[Row]) -> Protocol:
    """MeViS, version 2: N-acc, T-acc and "final", the mean of J&F and these two.

    The server's rules are not published. That "final" is this mean follows from published triples of figures, and that
    an answer without any pixel is an empty one is our reading: there may be a threshold.
    """
    final = {f"{OVERALL}/final": MeanOfMetrics(tuple(f"{OVERALL}/{head}" for head in ("J&F", "N-acc", "T-acc")))}
    rules = "mean over all questions with a target; final is the mean of J&F, N-acc and T-acc (our reading of MeViS v2)"
    return Protocol(rules, _by_kind(rows) | final)


J_AND_F = {"J": "j", "F": "f"}


def _by_kind(rows: Sequence[Row], usable: Among | None = None) -> dict[str, Measure]:
    """The figures of each kind of question, in alphabetical order, and overall. usable: rows that count."""
    counted = usable or _anything
    plan: dict[str, Measure] = {}
    for kind in sorted({row["category"] for row in questions(rows)}):
        plan |= _of_group(kind, partial(_both, counted, partial(_is, kind)))
    return plan | _of_group(OVERALL, counted)


def _of_group(group: str, among: Among) -> dict[str, Measure]:
    """All figures of some questions."""
    having = partial(_both, among, _has_target)
    means = {f"{group}/{head}": Mean(partial(_score, key=key), having) for head, key in J_AND_F.items()}
    return _with_middle(means, group) | _answers(group, among)


def _with_middle(means: Plan, group: str) -> dict[str, Measure]:
    """The same with J&F after F."""
    plan: dict[str, Measure] = {}
    for name, how in means.items():
        plan[name] = how
        if name == f"{group}/F":
            plan[f"{group}/J&F"] = MeanOfMetrics((f"{group}/J", name))
    return plan


def _answers(group: str, among: Among) -> dict[str, Measure]:
    """What does not look at frames one by one."""
    having = partial(_both, among, _has_target)
    return {
        f"{group}/gIoU": Mean(_iou, having),
        f"{group}/cIoU": Ratio(partial(_score, key="intersection"), partial(_score, key="union"), having),
        f"{group}/T-acc": Mean(partial(_answered, empty=False), having),
        f"{group}/N-acc": Mean(partial(_answered, empty=True), partial(_both, among, _has_none)),
    }


def _score(row: Row, key: str) -> float | None:
    """A score of a row; None if it is not known."""
    value: float | None = row.get(key)
    return value


def _iou(row: Row) -> float | None:
    if row.get("union") is None:
        return None
    if row["failure"] is not None:
        return 0.0
    return float(row["intersection"] / row["union"]) if row["union"] else 1.0


def _answered(row: Row, empty: bool) -> float:
    """Whether masks were given and are, or are not, empty."""
    return float(row["failure"] is None and row["empty"] == empty)


def _anything(row: Row) -> bool:
    return True


def _is(kind: str, row: Row) -> bool:
    return bool(row["category"] == kind)


def _is_there(row: Row) -> bool:
    return bool(row["failure"] != MISSING)


def _is_question(row: Row) -> bool:
    return "object" not in row


def _has_target(row: Row) -> bool:
    return row["target"] is True


def _has_none(row: Row) -> bool:
    return row["target"] is False


def _both(first: Among, second: Among, row: Row) -> bool:
    return first(row) and second(row)
