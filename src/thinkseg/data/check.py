"""Counts the contents of a benchmark, and checks all of its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from thinkseg.data.benchmarks.base import Benchmark, Video
from thinkseg.data.benchmarks.layouts import MaskFolders
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_tracks import LazyTrack
from thinkseg.types import ProgressCallback


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """Numbers of videos, frames and expressions of a benchmark.

    scored: frames with a ground truth, or with a hidden one that need a prediction.
    expressions: per category, in alphabetical order. targets: expressions with a "single" target, "multiple" targets,
        "none", or "unknown" targets.
    """

    videos: int
    frames: int
    scored: int
    expressions: Mapping[str, int]
    targets: Mapping[str, int]


def count_dataset(benchmark: Benchmark) -> DatasetStats:
    """Counts the listed videos, frames and expressions, without reading frames or masks."""
    categories = Counter(expression.category for expression in benchmark.expressions)
    targets = Counter(_targets(expression.objects) for expression in benchmark.expressions)
    scored: dict[str, set[int]] = {}
    for expression in benchmark.expressions:
        scored.setdefault(expression.video, set()).update(expression.scored)
    return DatasetStats(
        videos=len(benchmark.videos),
        frames=sum(len(video.frames) for video in benchmark.videos.values()),
        scored=sum(map(len, scored.values())),
        expressions=dict(sorted(categories.items())),
        targets={kind: targets[kind] for kind in ("single", "multiple", "none", "unknown") if targets[kind]},
    )


def check(benchmark: Benchmark, progress: ProgressCallback | None = None) -> None:
    """Checks the header of every frame, and all masks of targets; issues go to `benchmark.issues`.

    The frames of a video must exist, be images, and share one size. Masks must exist, belong to a known object, and
    have the size of their video. RLEs must be valid, and the values of mask images must show the object.
    progress: called with (videos done, total videos).
    Raises DatasetFileError or VideoError for the first issue, unless `benchmark.issues` counts them.
    """
    targets = _objects(benchmark)
    for done, video in enumerate(benchmark.videos.values(), start=1):
        with benchmark.issues.skipping():
            size_wh = benchmark.frames(video.id).size_wh
            _check_frames(benchmark, video, size_wh)
            for obj in targets.get(video.id, ()):
                _check_track(benchmark, partial(benchmark.files.track, video, obj, size_wh))
            _check_track(benchmark, partial(benchmark.files.foreground, video, size_wh))
        if progress:
            progress(done, len(benchmark.videos))


def check_mask_images(benchmark: Benchmark) -> None:
    """Checks the values of the mask images of targets, if the benchmark has any; see `check`."""
    if isinstance(benchmark.files, MaskFolders):
        for video_id, objects in _objects(benchmark).items():
            with benchmark.issues.skipping():
                size_wh = benchmark.frames(video_id).size_wh
                for obj in objects:
                    _check_track(benchmark, partial(benchmark.files.track, benchmark.videos[video_id], obj, size_wh))


def _objects(benchmark: Benchmark) -> dict[str, dict[str, None]]:
    """Returns the targets of all expressions about each video, in order."""
    targets: dict[str, dict[str, None]] = {}
    for expression in benchmark.expressions:
        targets.setdefault(expression.video, {}).update(dict.fromkeys(expression.objects or ()))
    return targets


def _check_frames(benchmark: Benchmark, video: Video, size_wh: tuple[int, int]) -> None:
    from thinkseg.ops.pictures import picture_size

    for path in benchmark.files.frame_paths(video):
        with benchmark.issues.skipping():
            if not os.path.isfile(path):
                raise DatasetFileError("missing_frame", f"{path}: no such frame; is the data set complete?")
            found = picture_size(path)
            if found != size_wh:
                sizes = "frame is {}x{}, its video {}x{}".format(*found, *size_wh)
                raise DatasetFileError("size_mismatch", f"{path}: {sizes}")


def _check_track(benchmark: Benchmark, track_of: Callable[[], LazyTrack | None]) -> None:
    with benchmark.issues.skipping():
        track = track_of()
        for issue in track.issues() if track is not None else ():
            benchmark.issues.add(issue)


def _targets(objects: tuple[str, ...] | None) -> str:
    if objects is None:
        return "unknown"
    return {0: "none", 1: "single"}.get(len(objects), "multiple")
