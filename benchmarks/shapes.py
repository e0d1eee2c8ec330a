"""Speed of making training samples of shapes on one core: `python benchmarks/shapes.py`.

A sample is the content of one packed row: a clip with its questions, its frames, drawn at 224x224 and resized to the
view, and the true replies. Encoding is excluded. Prints a table over kinds of data and views, and ends with one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from thinkseg.data.shapes import Episode, episode
from thinkseg.demonstrations import list_objects, traces, two_turns
from thinkseg.types import Dialogue, View

Make = Callable[[Episode, View, np.random.Generator], list[Dialogue]]

CASES: tuple[tuple[str, Make, View], ...] = (
    ("traces", traces, View(6, (112, 112))),
    ("traces", traces, View(4, (112, 112))),
    ("traces", traces, View(6, (224, 224))),
    ("two_turns", two_turns, View(4, (112, 112), closeup_wh=(224, 224))),
    ("list_objects", partial(list_objects, count=3), View(4, (112, 112))),
    ("list_objects_single_frame", partial(list_objects, count=1), View(1, (112, 112))),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="samples per case (default: 300)")
    parser.add_argument("--questions", type=int, default=3, help="questions per clip (default: 3)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'data':<26}{'frames':>6}{'size':>10}{'samples/s':>12}")
    speeds = {}
    for name, make, view in CASES:
        speed = samples_per_second(make, view, args.count, args.questions)
        width, height = view.frame_wh
        print(f"{name:<26}{view.num_frames:>6}{f'{width}x{height}':>10}{speed:>12.0f}")
        speeds[f"{name} {view.num_frames}x{width}"] = round(speed, 1)
    print(json.dumps({"samples_per_second": speeds}))


def samples_per_second(make: Make, view: View, count: int, questions: int) -> float:
    """Samples per second of CPU time. Excludes the first samples, which fill caches."""
    for index in range(5):
        make(episode("val", index, questions), view, np.random.default_rng(index))
    started = time.process_time()
    for index in range(count):
        make(episode("train", index, questions), view, np.random.default_rng(index))
    return count / (time.process_time() - started)


if __name__ == "__main__":
    main()
