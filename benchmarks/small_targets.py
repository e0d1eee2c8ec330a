"""How runs on the shapes world fare on small, middling and large targets: `python benchmarks/small_targets.py RUN...`

RUN: folders written by `thinkseg evaluate shapes` about the same split. Questions with a target that all of them
answered are cut into thirds by the share of the frame that the target takes where most of it is seen. Prints J&F and
R_s of each run in each third, and how much the runs after the first gain on it, with 95 % intervals, all in percent.
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
from thinkseg.evaluation.scores import table
from thinkseg.storage.run_folder import read_settings

THIRDS = ("small", "middling", "large")

METRICS = {"J&F": Mean(lambda row: (row["j"] + row["f"]) / 2), "R_s": Mean(lambda row: row["r_s"])}
"""A target that is in none of the frames shown has no R_s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    settings = [read_settings(run) for run in runs]
    for run, one in zip(runs, settings, strict=True):
        if one.get("category_weights"):
            sys.exit(f"{run}: asked other questions than the split has")
    splits = {str(one.get("split")) for one in settings}
    split = splits.pop()
    if splits:
        sys.exit(f"the runs are about different splits: {', '.join(sorted(splits | {split}))}")
    rows = [{name: row for name, row in read_results(run).items() if row["has_target"]} for run in runs]
    areas = {name: area(split, rows[0][name]["video"]) for name in rows[0] if all(name in run for run in rows)}
    told = {}
    for third, names in zip(
        THIRDS, np.array_split(sorted(areas, key=lambda name: areas[name]), len(THIRDS)), strict=True
    ):
        print(f"{third}: {areas[names[0]]:.2%} to {areas[names[-1]]:.2%} of the frame, {len(names)} questions")
        first, *others = ([answered[name] for name in names] for answered in rows)
        told[f"{third}: {runs[0]}"] = compute_metrics(first, METRICS)
        for run, own in zip(runs[1:], others, strict=True):
            gained = {f"{name} gained": figure for name, figure in difference(first, own, METRICS).items()}
            told[f"{third}: {run}"] = compute_metrics(own, METRICS) | gained
    print(table(told))


def area(split: str, video: str) -> float:
    """Share of the frame that a sample's target takes where most of it is seen."""
    sample = load(split, int(video.rsplit("-", 1)[1]))
    assert sample.truth is not None  # samples of the shapes world have one
    width, height = sample.video.size_wh
    return max(sample.truth.area(frame) for frame in range(len(sample.video))) / (width * height)


if __name__ == "__main__":
    try:
        main()
    except ThinkSegError as error:
        sys.exit(f"small_targets: {error}")
