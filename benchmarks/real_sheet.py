"""Draws what a tracker makes of real clips: `python benchmarks/real_sheet.py --root FOLDER --out FILE`.

FOLDER: a data set of the benchmark `folder`, as in `benchmarks/real_tracking.py`. The first object of each video is
tracked alone from its true box. FILE, a JPEG or PNG, has five frames of each video with the mask in red, the outline of
the true mask in white, and their IoU in percent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from flow import ious, largest_frame
from PIL import Image
from real_tracking import clip, objects

from thinkseg.data import open_benchmark
from thinkseg.models import load_tracker
from thinkseg.types import Frames, Masklets

FRAMES, TILE_WH, CLIPS_PER_ROW = 5, (200, 112), 2
RED, WHITE = (255, 40, 40), (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of queries.jsonl")
    parser.add_argument("--tracker", default="flow", help="see --tracker of `thinkseg segment` (default: flow)")
    parser.add_argument("--out", type=Path, required=True, help="image file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracker, benchmark = load_tracker(args.tracker), open_benchmark("folder", args.root)
    strips = {}
    for expression, obj in objects(benchmark):
        if expression.video not in strips:
            video, truth = clip(benchmark, expression, obj)
            keyframe = largest_frame(truth)
            strips[expression.video] = strip(video, tracker.track(video, keyframe, truth.boxes(keyframe)), truth)
    rows = [*strips.values()]
    rows += [np.zeros_like(rows[0])] * (-len(rows) % CLIPS_PER_ROW)
    lines = [np.hstack(rows[first : first + CLIPS_PER_ROW]) for first in range(0, len(rows), CLIPS_PER_ROW)]
    Image.fromarray(np.vstack(lines)).save(args.out, quality=60)


def strip(video: Frames, tracked: Masklets, truth: Masklets) -> np.ndarray:
    """Evenly spread frames side by side, uint8 (h, w, 3)."""
    j = ious(tracked, truth)
    indices = np.linspace(0, len(video) - 1, FRAMES).round().astype(int).tolist()
    return np.hstack([tile(video[index], tracked.union(index), truth.union(index), j[index]) for index in indices])


def tile(frame: np.ndarray, mask: np.ndarray, truth: np.ndarray, j: float) -> np.ndarray:
    """A small frame with the mask in red, the outline of the true one in white, and their IoU."""
    small = cv2.resize(frame, TILE_WH, interpolation=cv2.INTER_AREA)
    inside, expected = (cv2.resize(m.astype(np.uint8), TILE_WH, interpolation=cv2.INTER_AREA) for m in (mask, truth))
    small[inside > 0] = (0.5 * small[inside > 0] + 0.5 * np.array(RED)).astype(np.uint8)
    lines, _ = cv2.findContours(expected, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(small, lines, -1, WHITE, 1)
    cv2.putText(small, f"{100 * j:.0f}", (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, WHITE, 1, cv2.LINE_AA)
    return small


if __name__ == "__main__":
    main()
