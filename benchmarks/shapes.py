"""How fast one core makes training samples of the shapes world: `python benchmarks/shapes.py`.

A sample is what one packed row asks of the world: a clip with its questions, its frames drawn at 224x224 and shrunk to
the view, and the true replies. Turning it into tokens and patches is not counted. Prints a table over a few views and
ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np

from thinkseg.data.shapes import episode
from thinkseg.train.mixtures import looking, traces
from thinkseg.types import View

VIEWS = (View(6, (112, 112)), View(6, (224, 224)), View(1, (112, 112)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="samples a view")
    parser.add_argument("--questions", type=int, default=3, help="questions a clip")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'frames':>6}{'size':>10}{'samples/s':>12}")
    speeds = {}
    for view in VIEWS:
        speed = samples_a_second(view, args.count, args.questions)
        width, height = view.frame_wh
        print(f"{view.num_frames:>6}{f'{width}x{height}':>10}{speed:>12.0f}")
        speeds[f"{view.num_frames}x{width}"] = round(speed, 1)
    print(json.dumps({"samples_per_second": speeds, "target_6x112": 100}))


def samples_a_second(view: View, count: int, questions: int) -> float:
    """Samples a second of CPU time, after a few to warm up."""
    for index in range(-5, count):
        if index == 0:
            started = time.process_time()
        rng = np.random.default_rng(abs(index))
        if view.num_frames > 1:
            traces(episode("train", abs(index), questions), view, rng)
        else:
            looking(episode("train", abs(index)), view, rng, 1)
    return count / (time.process_time() - started)


if __name__ == "__main__":
    main()
