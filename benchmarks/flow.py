"""Quality and speed of a tracker, by default the flow tracker, from true boxes: `python benchmarks/flow.py`.

Quality: val split of the shapes world, true boxes on the frame where the targets are largest; J of a sample is the mean
over all frames of the IoU of the merged masks (both empty: 1). Speed: frames per second on one core at 854x480, without
drawing and decoding, for one and three objects. Prints a table and ends with one JSON line. results/flow.json has the
results of the flow tracker.
"""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np

from thinkseg.data.shapes import load
from thinkseg.models import load_tracker
from thinkseg.ops.video import ArrayFrames
from thinkseg.types import Frames, Masklets, Tracker, VideoSample

SIZE_480P = (854, 480)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=60, help="samples with a target to measure quality on")
    parser.add_argument("--worst", type=int, default=8, help="how many of the worst samples to list")
    parser.add_argument("--tracker", default="flow", help="see --tracker of `thinkseg segment` (default: flow)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracker = load_tracker(args.tracker)
    if args.tracker != "flow":
        import torch

        torch.set_num_threads(1)
    rows = quality(tracker, args.split, args.count)
    print(f"{'sample':<14}{'category':<12}{'objects':>8}{'frames':>8}{'J':>8}")
    for j, sample, objects in sorted(rows, key=lambda row: row[0])[: args.worst]:
        print(f"{sample.id:<14}{sample.category:<12}{objects:>8}{len(sample.video):>8}{j:>8.3f}")
    mean_j = float(np.mean([j for j, _, _ in rows]))
    speeds = {objects: speed(tracker, objects) for objects in (1, 3)}
    print(f"mean J over {len(rows)} samples: {mean_j:.4f}")
    for objects, fps in speeds.items():
        print(f"{objects} object(s) at 480p: {fps:.1f} frames per second")
    print(json.dumps({"mean_j": round(mean_j, 4)} | {f"fps_480p_{n}": round(fps, 1) for n, fps in speeds.items()}))


def quality(tracker: Tracker, split: str, count: int) -> list[tuple[float, VideoSample, int]]:
    """Mean J, sample and number of targets for the first `count` samples that have a target."""
    rows: list[tuple[float, VideoSample, int]] = []
    index = 0
    while len(rows) < count:
        sample = load(split, index)
        index += 1
        if sample.truth is None or not sample.truth.num_objects:
            continue
        keyframe = largest_frame(sample.truth)
        tracked = tracker.track(sample.video, keyframe, sample.truth.boxes(keyframe))
        rows.append((float(ious(tracked, sample.truth).mean()), sample, sample.truth.num_objects))
    return rows


def largest_frame(truth: Masklets) -> int:
    """The first frame in which the targets are largest."""
    return int(np.argmax([truth.area(frame) for frame in range(truth.num_frames)]))


def ious(tracked: Masklets, truth: Masklets) -> np.ndarray:
    """IoU of the merged masks of each frame, float64 (T,); 1 if both are empty."""
    scores = []
    for frame in range(truth.num_frames):
        mask, expected = tracked.union(frame), truth.union(frame)
        union = int((mask | expected).sum())
        scores.append(int((mask & expected).sum()) / union if union else 1.0)
    return np.array(scores)


def speed(tracker: Tracker, num_objects: int, num_frames: int = 60) -> float:
    """Frames per second of the tracker alone at 480p, best of three runs."""
    best = 0.0
    for _ in range(3):
        video, boxes = crowd(num_objects, num_frames)  # a new video, whose features are not cached
        start = time.process_time()
        tracker.track(video, num_frames // 2, boxes)
        best = max(best, num_frames / (time.process_time() - start))
    return best


def crowd(num_objects: int, num_frames: int) -> tuple[Frames, np.ndarray]:
    """A 480p clip of large textured discs that drift over texture, and their boxes on its middle frame."""
    rng = np.random.default_rng(0)
    width, height = SIZE_480P
    field = cv2.resize(rng.integers(60, 190, (30, 50, 3), np.uint8), SIZE_480P, interpolation=cv2.INTER_CUBIC)
    colors = ((200, 40, 40), (40, 70, 200), (230, 200, 40))
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    boxes = np.zeros((num_objects, 4), np.float32)
    for index in range(num_frames):
        frame = field.copy()
        for obj in range(num_objects):
            x, y, radius = 150 + 220 * obj + 2 * index, 140 + 80 * obj + index, 75
            cv2.circle(frame, (x, y), radius, colors[obj], -1, cv2.LINE_AA)
            cv2.circle(frame, (x + 20, y - 15), radius // 3, (240, 240, 240), -1, cv2.LINE_AA)
            if index == num_frames // 2:
                boxes[obj] = (x - radius, y - radius, x + radius + 1, y + radius + 1)
        noise = rng.normal(0, 3, frame.shape)
        frames[index] = np.clip(frame + noise, 0, 255).astype(np.uint8)
    return ArrayFrames(frames), boxes


if __name__ == "__main__":
    main()
