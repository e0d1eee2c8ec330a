"""Metrics of runs on shapes by target size: `python benchmarks/small_targets.py RUN...`

RUN: folders written by `thinkseg evaluate shapes` for one split. Splits the questions with a target into thirds by the
largest area of the target in any frame. Prints J&F and R_s of each run per third, and the differences from the first
run, in percent with 95 % confidence intervals.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from thinkseg.data.shapes import load
from thinkseg.errors import ThinkSegError
from thinkseg.evaluation.aggregation import Mean, compute_metrics, difference
from thinkseg.evaluation.old_results import read_results
from thinkseg.evaluation.scores import metrics_table
from thinkseg.storage.run_folder import read_settings

THIRDS = ("small", "medium", "large")

METRICS = {"J&F": Mean(lambda row: (row["j"] + row["f"]) / 2), "R_s": Mean(lambda row: row["r_s"])}
"""R_s is undefined for a target that is visible in no frame of the prompt."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    settings = [read_settings(run) for run in runs]
    for run, one in zip(runs, settings, strict=True):
        if one.get("category_weights"):
            sys.exit(f"{run}: its questions are not those of the split; evaluate without category weights")
    splits = {str(one.get("split")) for one in settings}
    split = splits.pop()
    if splits:
        sys.exit(f"the runs use different splits, {', '.join(sorted(splits | {split}))}; give runs of one split")
    rows = [{name: row for name, row in read_results(run).items() if row["has_target"]} for run in runs]
    areas = {name: area(split, rows[0][name]["video"]) for name in rows[0] if all(name in run for run in rows)}
    metrics = {}
    for third, names in zip(
        THIRDS, np.array_split(sorted(areas, key=lambda name: areas[name]), len(THIRDS)), strict=True
    ):
        print(f"{third}: {areas[names[0]]:.2%} to {areas[names[-1]]:.2%} of the frame, {len(names)} questions")
        first, *others = ([results[name] for name in names] for results in rows)
        metrics[f"{third}: {runs[0]}"] = compute_metrics(first, METRICS)
        for run, own in zip(runs[1:], others, strict=True):
            gained = {f"{name} gained": value for name, value in difference(first, own, METRICS).items()}
            metrics[f"{third}: {run}"] = compute_metrics(own, METRICS) | gained
    print(metrics_table(metrics))


def area(split: str, video: str) -> float:
    """Returns the largest area of a sample's target in any frame, as a fraction of the frame."""
    sample = load(split, int(video.rsplit("-", 1)[1]))
    assert sample.truth is not None  # all samples of shapes have ground truth
    width, height = sample.video.size_wh
    return max(sample.truth.area(frame) for frame in range(len(sample.video))) / (width * height)


if __name__ == "__main__":
    try:
        main()
    except ThinkSegError as error:
        sys.exit(f"small_targets: {error}")
