"""The metrics that all benchmarks report, and the protocols of shapes, folder, MeViS and ReasonVOS.

Metrics are named "GROUP/METRIC". A group is a category of expressions, all of them ("overall"), or one of a protocol.

J, F        of DAVIS: the mean over all annotated frames of an expression, first and last included, of the union of its
            objects; then the mean over expressions
J&F         the mean of J and F
gIoU        the mean over expressions of intersection over union, each summed over all frames; 1 if both are empty
cIoU        intersection over union, each summed over all expressions, so that large objects weigh more (LISA)
R_k, R_s    the rewards "keyframe" and "boxes" of Veason-R1, where all frames of a video are annotated
T-acc       share of expressions with a target for which something was predicted (GRES)
N-acc       share of expressions without a target that were answered with "none" or empty masks (GRES)
parse rate  share of expressions whose replies could be used

All but the last two cover expressions with a target. An answer without usable masks scores 0 everywhere, except for the
R_k of a keyframe that was chosen in an earlier reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from thinkseg.evaluation.aggregation import Mean, MeanOfMetrics, Metric, MetricSet, Ratio, expression_rows
from thinkseg.evaluation.predictions import MISSING
from thinkseg.storage.run_folder import Row

OVERALL = "overall"

J_AND_F = {"J": "j", "F": "f"}
"""Keys of a row by metric."""

Condition = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The metrics of a benchmark, with its rules as text."""

    rules: str
    metrics: MetricSet


def protocol(rows: Sequence[Row]) -> Protocol:
    """Returns means over expressions by category and overall, as MeViS reports them."""
    return Protocol("mean over all expressions with a target", category_metrics(rows))


def reasonvos(rows: Sequence[Row]) -> Protocol:
    """Returns the metrics of VideoLISA's evaluator: frames with a mask; expressions without predictions skipped."""
    rules = "VideoLISA: mean over expressions, only frames with a mask; expressions without predictions are skipped"
    return Protocol(rules, category_metrics(rows, _has_predictions))


def mevis_v2(rows: Sequence[Row]) -> Protocol:
    """Returns the metrics of MeViS version 2: adds "final", the mean of J&F, N-acc and T-acc.

    The server's rules are not published. That "final" is this mean follows from published triples of values. That an
    answer without any pixel is an empty one is our reading: there may be a threshold.
    """
    parts = tuple(f"{OVERALL}/{metric}" for metric in ("J&F", "N-acc", "T-acc"))
    rules = "mean over all expressions with a target; final: mean of J&F, N-acc and T-acc (our reading of MeViS v2)"
    return Protocol(rules, category_metrics(rows) | {f"{OVERALL}/final": MeanOfMetrics(parts)})


def category_metrics(rows: Sequence[Row], where: Condition | None = None) -> dict[str, Metric]:
    """Returns the metrics of each category, in alphabetical order, and overall, over the rows that `where` accepts."""
    counts = where or any_row
    metrics: dict[str, Metric] = {}
    for category in sorted({row["category"] for row in expression_rows(rows)}):
        metrics |= group_metrics(category, partial(_both, counts, partial(has_category, category)))
    return metrics | group_metrics(OVERALL, counts)


def group_metrics(group: str, where: Condition) -> dict[str, Metric]:
    """Returns all common metrics of a group."""
    targets = partial(_both, where, _has_target)
    means = {f"{group}/{metric}": Mean(partial(value_of, key=key), targets) for metric, key in J_AND_F.items()}
    return with_j_and_f(means, group) | answer_metrics(group, where)


def with_j_and_f(means: MetricSet, group: str) -> dict[str, Metric]:
    """Inserts J&F after F."""
    metrics: dict[str, Metric] = {}
    for name, metric in means.items():
        metrics[name] = metric
        if name == f"{group}/F":
            metrics[f"{group}/J&F"] = MeanOfMetrics((f"{group}/J", name))
    return metrics


def answer_metrics(group: str, where: Condition) -> dict[str, Metric]:
    """Returns the common metrics besides J and F."""
    targets = partial(_both, where, _has_target)
    return {
        f"{group}/gIoU": Mean(_iou, targets),
        f"{group}/cIoU": Ratio(partial(value_of, key="intersection"), partial(value_of, key="union"), targets),
        f"{group}/R_k": Mean(partial(value_of, key="r_k"), targets),
        f"{group}/R_s": Mean(partial(value_of, key="r_s"), targets),
        f"{group}/T-acc": Mean(partial(_is_answered, empty=False), targets),
        f"{group}/N-acc": Mean(partial(_is_answered, empty=True), partial(_both, where, _has_no_target)),
        f"{group}/parse rate": Mean(_is_parsed, where),
    }


def value_of(row: Row, key: str) -> float | None:
    """Returns a value of a row; None if it is unknown."""
    value: float | None = row.get(key)
    return value


def any_row(row: Row) -> bool:
    """Accepts every row."""
    return True


def is_expression(row: Row) -> bool:
    """Accepts the rows of expressions, but not those of objects."""
    return "object" not in row


def has_category(category: str, row: Row) -> bool:
    """Accepts the expressions of a category."""
    return bool(row["category"] == category)


def _iou(row: Row) -> float | None:
    if row.get("union") is None:
        return None
    if row["failure"] is not None:
        return 0.0
    return float(row["intersection"] / row["union"]) if row["union"] else 1.0


def _is_answered(row: Row, empty: bool) -> float:
    return float(row["failure"] is None and row["is_empty"] == empty)


def _is_parsed(row: Row) -> float | None:
    """Masks that come as files have no replies."""
    return float(row["failure"] is None) if "replies" in row else None


def _has_predictions(row: Row) -> bool:
    return bool(row["failure"] != MISSING)


def _has_target(row: Row) -> bool:
    return row["has_target"] is True


def _has_no_target(row: Row) -> bool:
    return row["has_target"] is False


def _both(first: Condition, second: Condition, row: Row) -> bool:
    return first(row) and second(row)
