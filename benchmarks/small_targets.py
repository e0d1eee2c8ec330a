"""How runs on the shapes world fare on small, middling and large targets: `python benchmarks/small_targets.py RUN...`

RUN: folders written by `thinkseg evaluate shapes` about the same split. Questions with a target that all of them
answered are cut into thirds by the share of the frame that the target takes where most of it is seen. Prints J&F and
R_s of each run in each third, and how much the runs after the first gain on it, with 95 % intervals over questions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from thinkseg import tables
from thinkseg.data.shapes import load
from thinkseg.errors import ThinkSegError
from thinkseg.results import ROWS, Row, read_rows, read_settings

THIRDS = ("small", "middling", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    splits = {str(read_settings(run).get("split")) for run in runs}
    split = splits.pop()
    if splits:
        sys.exit(f"the runs are about different splits: {', '.join(sorted(splits | {split}))}")
    rows = [{str(row["id"]): row for row in read_rows(run / ROWS).values() if row["target"]} for run in runs]
    names = [name for name in rows[0] if all(name in run for run in rows)]
    areas = np.array([area(split, name) for name in names])
    parts = np.array_split(np.argsort(areas, kind="stable"), len(THIRDS))
    lines = []
    for third, part in zip(THIRDS, parts, strict=True):
        span = f"{areas[part].min():.2%} to {areas[part].max():.2%}"
        for run, answered in zip(runs, rows, strict=True):
            own = figures([answered[names[i]] for i in part])
            first = figures([rows[0][names[i]] for i in part])
            gains = ["", ""] if run == runs[0] else [gain(own[:, i] - first[:, i]) for i in (0, 1)]
            lines.append(
                (third, span, str(len(part)), str(run), *(f"{100 * v:.1f}" for v in np.nanmean(own, 0)), *gains)
            )
    heads = ("target", "of the frame", "questions", "run", "J&F", "R_s", "J&F gained", "R_s gained")
    print(tables.table(heads, lines, numbers=range(4, 8)))


def area(split: str, name: str) -> float:
    """Share of the frame that a sample's target takes where most of it is seen."""
    sample = load(split, int(name.rsplit("-", 1)[1]))
    assert sample.truth is not None  # samples of the shapes world have one
    width, height = sample.video.size_wh
    return max(sample.truth.area(frame) for frame in range(len(sample.video))) / (width * height)


def figures(rows: list[Row]) -> np.ndarray:
    """J&F and R_s of rows, (N, 2); a target that is in no frame shown is left out of R_s."""
    return np.array([((row["j"] + row["f"]) / 2, np.nan if row["r_s"] is None else row["r_s"]) for row in rows])


def gain(differences: np.ndarray) -> str:
    """The mean of differences, with its 95 % interval by bootstrap, in points of percent."""
    known = 100 * differences[~np.isnan(differences)]
    rng = np.random.default_rng(0)
    means = known[rng.integers(len(known), size=(2000, len(known)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{known.mean():.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    try:
        main()
    except ThinkSegError as error:
        sys.exit(f"small_targets: {error}")
