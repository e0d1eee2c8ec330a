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

from thinkseg.data.benchmark import NO_TARGET, REASONING, REFERRING
from thinkseg.predictions import MISSING
from thinkseg.protocols.lgvis import ALL, AT, AveragePrecision
from thinkseg.results import Row, questions
from thinkseg.summary import Mean, MeanOf, Measure, Plan, Ratio

OVERALL = "overall"

Among = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a benchmark's figures come to be. rules: in words."""

    rules: str
    plan: Plan


def protocol_of(name: str, rows: Sequence[Row], fixed: bool = False) -> Protocol:
    """What a benchmark reports on rows like these. fixed: without the quirks of ViCaS' official evaluator."""
    if name == "vicas":
        return vicas(rows, fixed)
    return PROTOCOLS.get(name, mean_of_all)(rows)


def mean_of_all(rows: Sequence[Row]) -> Protocol:
    """Means over questions by kind and overall, as MeViS has it."""
    return Protocol("mean over all questions with a target", _by_kind(rows))


def revos(rows: Sequence[Row]) -> Protocol:
    """ReVOS as VISA's evaluator has it.

    - Each expression's percentages are rounded to two decimals before they enter a mean.
    - Kinds go by what the list says, also where it names no target.
    - "overall" is the mean of the referring and the reasoning figure, not that of all expressions.
    - No-target expressions enter no figure of VISA's. What they are answered with is N-acc.
    - R looks at expressions with a target: see `thinkseg.protocols.robustness`.

    gIoU, cIoU, T-acc and N-acc are no part of VISA's report, and those that are overall are over all questions.
    """
    plan: dict[str, Measure] = {}
    halves = (REFERRING, REASONING)
    scores = {"J": "j", "F": "f", "R_visa255": "r_visa255", "R_area": "r_area"}
    for kind in halves:
        among = partial(_is, kind)
        means = {f"{kind}/{head}": Mean(partial(_rounded, key=key), among, True) for head, key in scores.items()}
        plan |= _with_middle(means, kind) | _answers(kind, among)
    overall = {f"{OVERALL}/{head}": MeanOf(tuple(f"{kind}/{head}" for kind in halves)) for head in scores}
    plan |= _answers(NO_TARGET, partial(_is, NO_TARGET))
    plan |= _with_middle(overall, OVERALL) | _answers(OVERALL, _anything)
    rules = (
        "VISA: scores of a question in percent rounded to 2 decimals; overall is the mean of referring and reasoning"
    )
    return Protocol(f"{rules}; no-target apart; R_visa255 as published, R_area as meant", plan)


def reasonvos(rows: Sequence[Row]) -> Protocol:
    """ReasonVOS as VideoLISA's evaluator has it: frames with a mask only, and what has no predictions is left out."""
    rules = "VideoLISA: mean over questions, frames with a mask only; questions without predictions left out"
    return Protocol(rules, _by_kind(rows, _is_there))


def mevis_v2(rows: Sequence[Row]) -> Protocol:
    """MeViS, version 2: N-acc, T-acc and "final", the mean of J&F and these two.

    The server's rules are not published. That "final" is this mean follows from published triples of figures, and that
    an answer without any pixel is an empty one is our reading: there may be a threshold.
    """
    final = {f"{OVERALL}/final": MeanOf(tuple(f"{OVERALL}/{head}" for head in ("J&F", "N-acc", "T-acc")))}
    rules = "mean over all questions with a target; final is the mean of J&F, N-acc and T-acc (our reading of MeViS v2)"
    return Protocol(rules, _by_kind(rows) | final)


def refdavis(rows: Sequence[Row]) -> Protocol:
    """Ref-DAVIS17, both protocols. Their figures cannot be compared.

    A (ReferFormer), the published one: rows of objects, see `thinkseg.protocols.refdavis`; J and F are means over the
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
    plan |= {f"A/{head}": MeanOf(tuple(f"{run}/{head}" for run in runs)) for head in ("J", "F", "J&F") if runs}
    rules = "A (ReferFormer): objects matched, void left out, mean of the runs; B (VISA): every question by itself"
    return Protocol(rules, plan | _of_group("B", _is_question))


def vicas(rows: Sequence[Row], fixed: bool) -> Protocol:
    """LG-VIS as ViCaS' evaluator has it, or without its quirks: see `thinkseg.protocols.lgvis`."""
    tracks = {"mAP": ALL, **{name: (place,) for name, place in AT.items()}}
    precisions = {f"LG-VIS/{name}": AveragePrecision(levels, fixed) for name, levels in tracks.items()}
    how = "fixed: best matches, first ten tracks" if fixed else "the official evaluator, quirks included"
    rules = f"LG-VIS: AP of tracks ({how}); the others, which ViCaS does not report: mean over questions with a target"
    return Protocol(rules, _by_kind(rows) | precisions)


PROTOCOLS: dict[str, Callable[[Sequence[Row]], Protocol]] = {
    "revos": revos,
    "reasonvos": reasonvos,
    "mevis-v2": mevis_v2,
    "refdavis": refdavis,
}
"""Benchmarks with rules of their own, besides ViCaS. Of Ref-YouTube-VOS only the server knows the truth."""

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
            plan[f"{group}/J&F"] = MeanOf((f"{group}/J", name))
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


def _rounded(row: Row, key: str) -> float | None:
    """In percent, to two decimals."""
    value = row.get(key)
    return None if value is None else round(100 * value, 2)


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


def _in_run(run: str, row: Row) -> bool:
    return "object" in row and bool(row["group"] == run)


def _has_target(row: Row) -> bool:
    return row["target"] is True


def _has_none(row: Row) -> bool:
    return row["target"] is False


def _both(first: Among, second: Among, row: Row) -> bool:
    return first(row) and second(row)
