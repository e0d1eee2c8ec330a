"""From samples with known truth to scores.

In: samples, a chain, a policy, a tracker and a folder. Out, in that folder:

    settings.json   what was run; a folder holds the results of one setting only
    results.jsonl   one line a sample, written as it finishes, so that an evaluation cut off goes on where it was
    scores.json     the `Scores`, for all samples and by category, once all are done

One line of results.jsonl, as a dictionary:

    {"id": "val-7", "category": "referring", "query": "the red star", "target": true, "failure": null, "keyframe": 12,
     "boxes": [[10.0, 20.0, 31.5, 40.0]], "thinking": "...", "j": 0.91, "f": 0.95, "r_k": 1.0, "r_s": 0.83,
     "seconds": {"frames": 0.01, "policy": 0.4, "tracker": 0.2}}

All scores are fractions in [0, 1].
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np

import thinkseg
from thinkseg.chains.show import sample_indices
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.pipeline import chain_named, checked_view, segment_samples
from thinkseg.rewards import keyframe_area, matched_boxes
from thinkseg.types import Answer, Masklets, Policy, Progress, Segmentation, Tracker, VideoSample, View

Row = dict[str, Any]
"""One line of results.jsonl."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a group of samples scored; a figure is None where the group has no sample it could be measured on.

    samples, targets: how many there are, and how many of them have a target.
    parsed: share of samples whose reply could be used.
    j, f, j_and_f: region similarity, contour accuracy and their mean, over samples with a target, each sample the mean
        over its frames. A reply that could not be used scores 0; one that says there is no target is scored as the
        empty masks it asks for.
    r_k, r_s: rewards `keyframe_area` and `matched_boxes` over samples with a target; 0 for a reply that could not be
        used. Samples whose target is in none of the frames shown have no r_k.
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


def evaluate(
    samples: Iterable[VideoSample],
    chain: str,
    policy: Policy,
    tracker: Tracker,
    out: Path,
    *,
    view: View | None = None,
    batch_size: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores a chain, a policy and a tracker on samples, or goes on where an earlier call in `out` was cut off.

    chain: a name from `thinkseg.chains.CHAINS`.
    settings: whatever else decides the results (data set, split, seed, sampling), plain JSON values. Kept in `out`
        beside the names and the view; how many samples are asked for is no setting, so that more can be added.
    progress: called with (samples done, samples in all), the latter 0 where `samples` does not know its length.

    Raises SettingsError if `out` cannot be written or holds results of other settings, DatasetError if two samples
    share an id or a sample has no truth.
    """
    view = checked_view(policy, view)
    chain_fn = chain_named(chain)
    names = {"chain": chain, "policy": policy.name, "tracker": tracker.name, "version": thinkseg.__version__}
    _settle({**names, "view": asdict(view), **(settings or {})}, out)
    done, asked = _finished(out / "results.jsonl"), _Asked(samples)
    with (out / "results.jsonl").open("a", encoding="utf-8") as results:
        waiting = (sample for sample in asked if sample.id not in done)
        for segmentation in segment_samples(waiting, chain_fn, policy, tracker, view, batch_size):
            row = judge(segmentation, view)
            results.write(json.dumps(row) + "\n")
            results.flush()
            done[row["id"]] = row
            if progress:
                progress(asked.positions[row["id"]], length_hint(samples))
    scores = summarise([done[name] for name in asked.positions])
    _write_json(asdict(scores), out / "scores.json")
    return scores


def judge(segmentation: Segmentation, view: View) -> Row:
    """One segmentation against the truth of its sample: a line of results.jsonl. DatasetError if there is no truth."""
    sample, answer = segmentation.sample, segmentation.answer
    truth = _truth(sample)
    row: Row = {
        "id": sample.id,
        "category": sample.category,
        "query": sample.query,
        "target": truth.num_objects > 0,
        "failure": segmentation.failure,
        "keyframe": answer.keyframe if answer else None,
        "boxes": answer.boxes.tolist() if answer else [],
        "thinking": answer.thinking if answer else "",
        "j": None,
        "f": None,
        "r_k": None,
        "r_s": None,
        "seconds": dict(segmentation.seconds),
    }
    if row["target"]:
        # What cannot be read earns what choosing nothing earns, and no credit for the frames without the target.
        judged = answer or Answer("", None, np.zeros((0, 4), np.float32))
        shown = sample_indices(len(sample.video), view.num_frames)
        row["j"], row["f"] = mean_j_and_f(segmentation.masklets, truth) if answer else (0.0, 0.0)
        row["r_k"] = keyframe_area(sample, judged, shown)
        row["r_s"] = matched_boxes(sample, judged, shown)
    return row


def mean_j_and_f(masklets: Masklets, truth: Masklets) -> tuple[float, float]:
    """J and F of the merged objects, each the mean over all frames, decoding one frame at a time."""
    from thinkseg.ops.metrics import j_and_f

    frames = [j_and_f(masklets.union(i)[None], truth.union(i)[None]) for i in range(truth.num_frames)]
    j, f = np.array(frames).mean(axis=(0, 2))
    return float(j), float(f)


def summarise(rows: Sequence[Row]) -> Scores:
    """Scores of results, whatever order they are in."""
    categories = sorted({row["category"] for row in rows})
    return Scores(
        overall=_figures(rows),
        categories={name: _figures([row for row in rows if row["category"] == name]) for name in categories},
    )


def table(scores: Scores) -> str:
    """Scores as text: a line for each category, one for all, and what made replies unusable."""
    columns = ("samples", "targets", "parsed", "j", "f", "j_and_f", "r_k", "r_s", "missed_targets", "no_target_right")
    heads = ("samples", "targets", "parsed", "J", "F", "J&F", "R_k", "R_s", "missed", "no-target right")
    width = max(len("category"), *(len(name) for name in (*scores.categories, "overall")))
    lines = ["  ".join(("category".ljust(width), *heads))]
    for name, figures in (*scores.categories.items(), ("overall", scores.overall)):
        cells = [_cell(getattr(figures, column)).rjust(len(head)) for column, head in zip(columns, heads, strict=True)]
        lines.append("  ".join((name.ljust(width), *cells)))
    if scores.overall.failures:
        counts = (f"{reason} {count}" for reason, count in scores.overall.failures.items())
        lines.append(f"unusable replies: {', '.join(counts)}")
    return "\n".join(lines)


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
        seconds={
            step: _mean(row["seconds"][step] for row in rows) or 0.0 for step in (rows[0]["seconds"] if rows else ())
        },
    )


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


class _Asked:
    """Samples on their way in, each checked that it can be scored.

    positions: ids of the samples that have come through, in order, each with how many that makes.
    """

    def __init__(self, samples: Iterable[VideoSample]) -> None:
        self.samples = samples
        self.positions: dict[str, int] = {}

    def __iter__(self) -> Iterator[VideoSample]:
        for position, sample in enumerate(self.samples, start=1):
            _truth(sample)
            if sample.id in self.positions:
                raise DatasetError(f"two samples have the id {sample.id!r}: their results could not be told apart")
            self.positions[sample.id] = position
            yield sample


def _truth(sample: VideoSample) -> Masklets:
    if sample.truth is None:
        raise DatasetError(f"sample {sample.id!r} has no truth to score against: choose a split that has")
    return sample.truth


def _settle(settings: Mapping[str, Any], out: Path) -> None:
    """Makes the folder one for these settings, or raises SettingsError if it cannot be."""
    path = out / "settings.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if (out / "results.jsonl").exists():
                raise SettingsError(f"{out} holds results but not the settings they came from: choose another folder")
            _write_json(settings, path)
        stored = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot keep results in {out}: {error.strerror}: choose another folder") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON: remove {out} or choose another folder") from error
    wanted = json.loads(json.dumps(settings))
    if differing := sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key)):
        changes = ", ".join(f"{key} {stored.get(key)!r} -> {wanted.get(key)!r}" for key in differing)
        raise SettingsError(f"{out} holds results of other settings ({changes}): choose another folder")


def _finished(path: Path) -> dict[str, Row]:
    """Results already in the file, by sample id; a last line that was cut off is dropped from it."""
    if not path.exists():
        return {}
    whole, newline, partial = path.read_bytes().rpartition(b"\n")
    if partial:
        os.truncate(path, len(whole) + len(newline))
    rows = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                f"{path}, line {number}: not a result; remove the line to do that sample again"
            ) from error
    return rows


def _write_json(value: Any, path: Path) -> None:
    """Writes a file that is there in full or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    os.replace(partial, path)
