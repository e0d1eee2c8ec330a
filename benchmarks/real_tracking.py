"""Quality of a tracker on real clips with true masks: `python benchmarks/real_tracking.py --root FOLDER --out FILE`.

FOLDER: a data set of the benchmark `folder`. Each object that an expression refers to is tracked alone, from its true
box on the frame where it is largest. J and F of an object are means over all annotated frames; J&F of the set is the
mean over objects. Per object and in total it counts

    wrong       frames with a mask whose IoU with the true mask is < 0.1, be the object visible there or not
    emptied     frames without a mask in which the object is visible; their J is 0
    seconds     processor time of tracking

Prints a table and writes FILE after each object. Objects that FILE has already are skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from flow import largest_frame

from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.errors import ThinkSegError
from thinkseg.models import load_tracker
from thinkseg.ops.metrics import masklets_j_and_f
from thinkseg.types import Frames, Masklets, Tracker

HARDLY = 0.1
"""IoU below which a mask hardly touches the object."""

COLUMNS = ("j_and_f", "j", "f", "keyframe_j", "wrong", "emptied", "frames", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of queries.jsonl")
    parser.add_argument("--tracker", default="flow", help="see --tracker of `thinkseg segment` (default: flow)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracker, benchmark = load_tracker(args.tracker), open_benchmark("folder", args.root)
    rows: dict[str, dict[str, Any]] = json.loads(args.out.read_text())["objects"] if args.out.exists() else {}
    for expression, obj in objects(benchmark):
        if obj not in rows:
            rows[obj] = row(benchmark, expression, obj, tracker)
            report = {"tracker": args.tracker, "mean": mean(rows), "objects": rows}
            args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'object':<26}" + "".join(f"{name:>12}" for name in COLUMNS))
    for name, values in {**rows, "all": mean(rows)}.items():
        print(f"{name:<26}" + "".join(f"{values[column]:>12}" for column in COLUMNS))


def objects(benchmark: Benchmark) -> Iterator[tuple[Expression, str]]:
    """Every object that an expression refers to, once, with that expression."""
    found = set()
    for expression in benchmark.expressions:
        for obj in expression.objects or ():
            if obj not in found:
                found.add(obj)
                yield expression, obj


def clip(benchmark: Benchmark, expression: Expression, obj: str) -> tuple[Frames, Masklets]:
    """The video of an expression, and the true masks of one of its objects."""
    video = benchmark.frames(expression.video)
    track = benchmark.files.track(benchmark.videos[expression.video], obj, video.size_wh)
    return video, Masklets(video.size_wh, len(video), (tuple(track),))


def row(benchmark: Benchmark, expression: Expression, obj: str, tracker: Tracker) -> dict[str, Any]:
    """Tracks one object, and returns its values in percent, counts of frames and seconds."""
    video, truth = clip(benchmark, expression, obj)
    keyframe = largest_frame(truth)
    started = time.process_time()
    tracked = tracker.track(video, keyframe, truth.boxes(keyframe))
    seconds = time.process_time() - started
    j, f = masklets_j_and_f(tracked, truth)
    annotated = np.isin(np.arange(len(video)), expression.scored)
    seen, visible = tracked.seen(0), truth.seen(0)
    return {
        "keyframe": keyframe,
        **percent(j=j[annotated].mean(), f=f[annotated].mean(), keyframe_j=j[keyframe]),
        "j_and_f": round(50 * float(j[annotated].mean() + f[annotated].mean()), 2),
        "wrong": int((seen & (j < HARDLY) & annotated).sum()),
        "emptied": int((~seen & visible & annotated).sum()),
        "frames": int(annotated.sum()),
        "seconds": round(seconds, 2),
    }


def percent(**values: float) -> dict[str, float]:
    return {name: round(100 * float(value), 2) for name, value in values.items()}


def mean(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over objects of what is in percent, sums of the other columns."""
    values = {name: [one[name] for one in rows.values()] for name in COLUMNS}
    summed = ("wrong", "emptied", "frames", "seconds")
    return {name: round(sum(v) if name in summed else float(np.mean(v)), 2) for name, v in values.items()}


if __name__ == "__main__":
    try:
        main()
    except ThinkSegError as error:
        sys.exit(f"real_tracking: {error}")
