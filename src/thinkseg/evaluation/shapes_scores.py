"""What an answer and its masks are worth against the truth, one by one and as means over many.

In: segmentations of samples whose truth is known. Out: a plain dictionary for each, which is a line of results.jsonl;
the `Scores` of any number of them; and those as a table to read. All scores are fractions in [0, 1].

One such dictionary:

    {"id": "val-7", "category": "referring", "query": "the red star", "target": true, "failure": null, "keyframe": 12,
     "boxes": [[10.0, 20.0, 31.5, 40.0]], "replies": ["<think>...</answer>"], "j": 0.91, "f": 0.95, "r_k": 1.0,
     "r_s": 0.83, "tokens": {"read": 410, "written": 96}, "seconds": {"frames": 0.01, "policy": 0.4, "tracker": 0.2}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinkseg import console
from thinkseg.errors import DatasetError
from thinkseg.evaluation.sample_metrics import rewarded, told
from thinkseg.types import Masklets, Segmentation, VideoSample, View

Row = dict[str, Any]
"""One segmentation scored: a line of results.jsonl."""


COLUMNS = {
    "samples": "samples",
    "targets": "targets",
    "parsed": "parsed",
    "j": "J",
    "f": "F",
    "j_and_f": "J&F",
    "r_k": "R_k",
    "r_s": "R_s",
    "missed_targets": "missed targets",
    "no_target_right": "no-target right",
}
"""The figures a table shows, and the heads of its columns."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a group of samples scored; a figure is None where the group has no sample it could be measured on.

    samples, targets: how many there are, and how many of them have a target.
    parsed: share of samples whose reply could be used.
    j, f, j_and_f: region similarity, contour accuracy and their mean, over samples with a target, each sample the mean
        over its frames. A reply that could not be used scores 0; one that says there is no target is scored as the
        empty masks it asks for.
    r_k, r_s: rewards "keyframe" and "boxes" over samples with a target; 0 for a reply that could not be used. Samples
        whose target is in none of the frames shown have neither.
    missed_targets: share of samples with a target that were answered "there is none".
    no_target_right: share of samples without a target that were answered "there is none".
    failures: how often each reason made a reply unusable.
    seconds: mean wall time a sample by step.
    """

    samples: int
    targets: int
    parsed: float | None
    j: float | None
    f: float | None
    j_and_f: float | None
    r_k: float | None
    r_s: float | None
    missed_targets: float | None
    no_target_right: float | None
    failures: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures over all samples, and by category in alphabetical order."""

    overall: Figures
    categories: Mapping[str, Figures]


def judge(segmentation: Segmentation, view: View) -> Row:
    """Scores one segmentation against the truth of its sample; a sample without a target has no j, f, r_k or r_s.

    view: what the policy was shown. Raises DatasetError if the truth is not known.
    """
    sample, answer = segmentation.sample, segmentation.answer
    truth = known_truth(sample)
    target = truth.num_objects > 0
    row = {**told(segmentation), "target": target, "j": None, "f": None, "r_k": None, "r_s": None}
    if target:
        # What cannot be read earns no credit for the frames without the target.
        row["j"], row["f"] = mean_j_and_f(segmentation.masklets, truth) if answer else (0.0, 0.0)
        row |= rewarded(segmentation, view)
    return row


def mean_j_and_f(masklets: Masklets, truth: Masklets) -> tuple[float, float]:
    """J and F of the merged objects, each the mean over all frames."""
    from thinkseg.ops.metrics import masklets_j_and_f

    j, f = masklets_j_and_f(masklets, truth)
    return float(j.mean()), float(f.mean())


def known_truth(sample: VideoSample) -> Masklets:
    """The truth of a sample that is to be scored. Raises DatasetError if there is none."""
    if sample.truth is None:
        raise DatasetError(f"sample {sample.id!r} has no truth to score against: choose a split that has")
    return sample.truth


def summarise(rows: Sequence[Row]) -> Scores:
    """Scores of results, whatever order they are in."""
    categories = sorted({row["category"] for row in rows})
    return Scores(
        overall=_figures(rows),
        categories={name: _figures([row for row in rows if row["category"] == name]) for name in categories},
    )


def table(scores: Scores) -> str:
    """Scores as text: a line for each category, one for all, and what made replies unusable."""
    groups = (*scores.categories.items(), ("overall", scores.overall))
    lines = [(name, *(_cell(getattr(figures, column)) for column in COLUMNS)) for name, figures in groups]
    text = console.table(("category", *COLUMNS.values()), lines, numbers=range(1, 1 + len(COLUMNS)))
    if scores.overall.failures:
        counts = (f"{reason} {count}" for reason, count in scores.overall.failures.items())
        text += f"\nunusable replies: {', '.join(counts)}"
    return text


def _figures(rows: Sequence[Row]) -> Figures:
    targets = [row for row in rows if row["target"]]
    absent = [row for row in rows if not row["target"]]
    j, f = (_mean(row[name] for row in targets) for name in ("j", "f"))
    return Figures(
        samples=len(rows),
        targets=len(targets),
        parsed=_mean(row["failure"] is None for row in rows),
        j=j,
        f=f,
        j_and_f=None if j is None or f is None else (j + f) / 2,
        r_k=_mean(row["r_k"] for row in targets),
        r_s=_mean(row["r_s"] for row in targets),
        missed_targets=_mean(_says_none(row) for row in targets),
        no_target_right=_mean(_says_none(row) for row in absent),
        failures=dict(Counter(row["failure"] for row in rows if row["failure"]).most_common()),
        seconds=_mean_seconds(rows),
    )


def _mean_seconds(rows: Sequence[Row]) -> dict[str, float]:
    steps = rows[0]["seconds"] if rows else ()
    return {step: sum(row["seconds"][step] for row in rows) / len(rows) for step in steps}


def _says_none(row: Row) -> bool:
    return row["failure"] is None and row["keyframe"] is None


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there; None if none are."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
