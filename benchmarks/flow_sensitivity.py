"""How much each constant of the flow tracker matters: `python benchmarks/flow_sensitivity.py --out FILE`.

Scales one constant at a time by 0.7 and by 1.4, tracks true boxes through clips of the shapes world's val split, and
measures the change of mean J and of the number of wrong frames, whose mask is not empty and has an IoU below 0.1.
Writes FILE after each constant, and skips constants that FILE has already. Optical flow is computed once per pair of
frames, and masks on keyframes once unless a constant may change them. 8 clips need about 7 s per value on one thread.

With `--root FOLDER`, the clips are the objects of a data set of real clips, as in `benchmarks/real_tracking.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from flow import ious, largest_frame
from real_tracking import HARDLY, clip, objects

from thinkseg.data import open_benchmark
from thinkseg.data.shapes import load
from thinkseg.models.trackers.flow import (
    box_to_mask,
    camera_motion,
    color_model,
    object_state,
    redetection,
    silhouette,
    soft_mask,
    tracked_object,
    tracker,
)
from thinkseg.ops.video import ArrayFrames
from thinkseg.types import Frames, Masklets

FACTORS = (0.7, 1.4)

UPPER_LIMITS = {
    "CENTER_RADIUS": 1.0,
    "FULL_SIMILARITY": 1.0,
    "HIDDEN_DECAY": 1.0,
    "HIDDEN_MOMENTUM": 1.0,
    "INITIAL_RIGIDITY": 1.0,
    "MIN_REDETECTION_CONFIDENCE": 0.95,
    "MOVING_PERCENTILE": 100,
    "STRONG_EDGE_PERCENTILE": 100,
}
"""Largest values that make sense for constants that are near them."""

EXCLUDED = {
    # Structure of histograms and distance maps, and numbers that set the cost.
    "FAR",
    "GRID_STEP",
    "HISTOGRAM_BINS",
    "MAX_POINTS",
    "NUM_BINS",
    "OUTLINE_MARGIN",
    "RANSAC_STEPS",
    # Limits that only degenerate cases reach, and ranges around 1 that a factor would move off it.
    "EDGE_BAND_LIMITS",
    "LARGEST_DECAY",
    "MAX_BIAS",
    "MAX_SILHOUETTE_AREA",
    "MAX_SPIN",
    "MIN_BOX_SIDE",
    "MIN_COLOR_FIT",
    "MIN_CROP_MARGIN",
    "MIN_FIT_POINTS",
    "MIN_FLOW_SIDE",
    "MIN_GROWTH_LIMIT",
    "MIN_MOVED_POINTS",
    "MIN_POSE_SCORE",
    "MIN_REDETECTED_PIXELS",
    "MIN_REMAINING_SHARE",
    "MIN_SIMILARITY_POINTS",
    "MIN_VISIBLE_PIXELS",
    "RESHAPE_AREA",
    "SCALE_STEP",
    "SURROUND_LIMITS",
    # A factor of another constant.
    "SQUARED_ARM",
    # Frames of the clips are too small for these.
    "UPSAMPLE_BAND",
    "UPSAMPLE_EPS",
    "UPSAMPLE_RADIUS",
}
"""Constants that are not measured."""

MODULES = (
    tracked_object,
    object_state,
    color_model,
    soft_mask,
    box_to_mask,
    silhouette,
    redetection,
    camera_motion,
    tracker,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=8, help="clips with a target (default: 8)")
    parser.add_argument("--root", type=Path, help="data set of real clips (folder of queries.jsonl) instead of shapes")
    parser.add_argument("--videos", nargs="+", metavar="NAME", help="videos of that data set (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the results")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="constants to measure, in order (default: all)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tracker.optical_flow = cached(tracker.optical_flow)
    clips = real_clips(args.root, args.videos) if args.root else load_clips(args.clips)
    base = quality(clips)
    only = f" --videos {' '.join(args.videos)}" if args.videos else ""
    source = f"--root FOLDER{only}" if args.root else f"--clips {args.clips}"
    report: dict[str, Any] = {"command": f"python benchmarks/flow_sensitivity.py {source} --out {args.out}"}
    report |= {"factors": FACTORS, "mean_j": round(base[0], 4), "wrong": base[1], "constants": {}}
    if args.out.exists():
        report["constants"] = json.loads(args.out.read_text())["constants"]
    keyframe_mask = tracker.box_to_mask
    cached_mask = cached(keyframe_mask)
    modules = constants()
    for name in args.only or modules:
        if name in report["constants"]:
            continue
        changes_masks = any(hasattr(part, name) for part in (box_to_mask, camera_motion, color_model))
        tracker.box_to_mask = keyframe_mask if changes_masks else cached_mask
        report["constants"][name] = changes(name, getattr(modules[name], name), clips, base)
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def changes(name: str, value: Any, clips: list[tuple[Frames, Masklets]], base: tuple[float, int]) -> dict[str, Any]:
    """Changes of J in points and of the number of wrong frames for a scaled constant, which are also printed."""
    values = [scaled(value, factor, name) for factor in FACTORS]
    measured = [quality_with(name, other, clips) for other in values]
    points, wrong = [round(100 * (j - base[0]), 2) for j, _ in measured], [count - base[1] for _, count in measured]
    print(
        f"{name:<28}" + "".join(f"{j:>8.2f} ({count:+d})" for j, count in zip(points, wrong, strict=True)), flush=True
    )
    return {"value": value, "scaled": values, "points_of_j": points, "wrong": wrong}


def constants() -> dict[str, ModuleType]:
    """The names of all constants that are measured, with a module that has each."""
    return {
        name: module
        for module in MODULES
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float | tuple) and name not in EXCLUDED
    }


def scaled(value: Any, factor: float, name: str) -> Any:
    """A number, or all numbers of a tuple, times a factor; integers are rounded."""
    if isinstance(value, tuple):
        return tuple(scaled(part, factor, name) for part in value)
    number = round(value * factor) if isinstance(value, int) else value * factor
    return min(number, UPPER_LIMITS.get(name, number))


def quality_with(name: str, value: Any, clips: list[tuple[Frames, Masklets]]) -> tuple[float, int]:
    """The quality with another value of a constant, in all modules that import it."""
    holders = [module for module in MODULES if hasattr(module, name)]
    before = getattr(holders[0], name)
    for module in holders:
        setattr(module, name, value)
    try:
        return quality(clips)
    finally:
        for module in holders:
            setattr(module, name, before)


def load_clips(count: int) -> list[tuple[Frames, Masklets]]:
    """The first clips of the val split that have a target, rendered, with their masks."""
    clips: list[tuple[Frames, Masklets]] = []
    index = 0
    while len(clips) < count:
        sample = load("val", index)
        index += 1
        if sample.truth is not None and sample.truth.num_objects:
            clips.append((ArrayFrames(np.stack([*sample.video.read(range(len(sample.video)))])), sample.truth))
    return clips


def real_clips(root: Path, videos: list[str] | None) -> list[tuple[Frames, Masklets]]:
    """Each object of a data set, or of some of its videos, as a clip of its own."""
    benchmark = open_benchmark("folder", root)
    return [
        clip(benchmark, expression, obj)
        for expression, obj in objects(benchmark)
        if not videos or Path(expression.video).stem in videos
    ]


def quality(clips: list[tuple[Frames, Masklets]]) -> tuple[float, int]:
    """Mean J and number of wrong frames of tracking true boxes from the frame with the largest targets."""
    scores, wrong = [], 0
    for video, truth in clips:
        keyframe = largest_frame(truth)
        tracked = tracker.FlowTracker().track(video, keyframe, truth.boxes(keyframe))
        j = ious(tracked, truth)
        seen = [tracked.area(frame) > 0 for frame in range(truth.num_frames)]
        scores.append(j.mean())
        wrong += int((seen & (j < HARDLY)).sum())
    return float(np.mean(scores)), wrong


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays that computes each result once; other arguments do not count."""
    results: dict[tuple[int, ...], Any] = {}

    def call(*arguments: Any) -> Any:
        key = tuple(hash(value.tobytes()) for value in arguments if isinstance(value, np.ndarray))
        if key not in results:
            results[key] = function(*arguments)
        return results[key]

    return call


if __name__ == "__main__":
    main()
