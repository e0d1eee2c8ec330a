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
from thinkseg.evaluation.aggregation import Mean, difference, measure
from thinkseg.evaluation.scores import table
from thinkseg.storage.run_folder import ROWS, read_rows, read_settings

THIRDS = ("small", "middling", "large")

PLAN = {"J&F": Mean(lambda row: (row["j"] + row["f"]) / 2), "R_s": Mean(lambda row: row["r_s"])}
"""A target that is in none of the frames shown has no R_s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    settings = [read_settings(run) for run in runs]
    for run, one in zip(runs, settings, strict=True):
        if one.get("asked"):
            sys.exit(f"{run}: asked other questions than the split has")
    splits = {str(one.get("split")) for one in settings}
    split = splits.pop()
    if splits:
        sys.exit(f"the runs are about different splits: {', '.join(sorted(splits | {split}))}")
    # Each sample is a video.
    rows = [
        {row["id"]: row | {"video": row["id"]} for row in read_rows(run / ROWS).values() if row["target"]}
        for run in runs
    ]
    areas = {name: area(split, name) for name in rows[0] if all(name in run for run in rows)}
    told = {}
    for third, names in zip(
        THIRDS, np.array_split(sorted(areas, key=lambda name: areas[name]), len(THIRDS)), strict=True
    ):
        print(f"{third}: {areas[names[0]]:.2%} to {areas[names[-1]]:.2%} of the frame, {len(names)} questions")
        first, *others = ([answered[name] for name in names] for answered in rows)
        told[f"{third}: {runs[0]}"] = measure(first, PLAN)
        for run, own in zip(runs[1:], others, strict=True):
            gained = {f"{name} gained": figure for name, figure in difference(first, own, PLAN).items()}
            told[f"{third}: {run}"] = measure(own, PLAN) | gained
    print(table(told))


def area(split: str, name: str) -> float:
    """Share of the frame that a sample's target takes where most of it is seen."""
    sample = load(split, int(name.rsplit("-", 1)[1]))
    assert sample.truth is not None  # samples of the shapes world have one
    width, height = sample.video.size_wh
    return max(sample.truth.area(frame) for frame in range(len(sample.video))) / (width * height)


if __name__ == "__main__":
    try:
        main()
    except ThinkSegError as error:
        sys.exit(f"small_targets: {error}")
