"""What a benchmark holds, and whether all of it is there: a `Benchmark` in, a `DatasetStats` and noted problems out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from thinkseg.data.benchmarks.base import Benchmark, Video
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_tracks import LazyTrack
from thinkseg.types import Progress


@dataclass(frozen=True, slots=True)
class DatasetStats:
    """How much of what a benchmark has.

    frames, scored: frames of all videos, and those that have a truth to score, or await a prediction.
    expressions: how many of each category, in alphabetical order. targets: how many have a "single" target, "multiple"
        targets, "none", or a target that is "not told".
    """

    videos: int
    frames: int
    scored: int
    expressions: Mapping[str, int]
    targets: Mapping[str, int]


def count_dataset(benchmark: Benchmark) -> DatasetStats:
    """Counts what is listed, without reading any frame or mask."""
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
        targets={kind: targets[kind] for kind in ("single", "multiple", "none", "not told") if targets[kind]},
    )


def check(benchmark: Benchmark, progress: Progress | None = None) -> None:
    """Looks at every frame's header and every mask that is asked for; what is wrong goes to `benchmark.issues`.

    Frames must be there, be pictures, and share one size. Masks must be there, belong to a known object, be of the size
    of their video and, if they are run lengths, be decodable. progress: called with (videos done, videos in all).
    Raises TreeError or VideoError for the first problem if they may not be passed over.
    """
    asked: dict[str, dict[str, None]] = {}
    for expression in benchmark.expressions:
        asked.setdefault(expression.video, {}).update(dict.fromkeys(expression.objects or ()))
    for done, video in enumerate(benchmark.videos.values(), start=1):
        with benchmark.issues.skipping():
            size_wh = benchmark.frames(video.id).size_wh
            _check_frames(benchmark, video, size_wh)
            for obj in asked.get(video.id, ()):
                _check_track(benchmark, partial(benchmark.files.track, video, obj, size_wh))
            _check_track(benchmark, partial(benchmark.files.foreground, video, size_wh))
        if progress:
            progress(done, len(benchmark.videos))


def _check_frames(benchmark: Benchmark, video: Video, size_wh: tuple[int, int]) -> None:
    from thinkseg.ops.video import FrameFolder

    for path in benchmark.files.frame_paths(video):
        with benchmark.issues.skipping():
            if not os.path.isfile(path):
                raise DatasetFileError("frame", f"there is no frame {path}; is the data set complete?")
            found = FrameFolder([path]).size_wh
            if found != size_wh:
                sizes = "{}x{} where its video is {}x{}".format(*found, *size_wh)
                raise DatasetFileError("size", f"frame {path} is {sizes}")


def _check_track(benchmark: Benchmark, track_of: Callable[[], LazyTrack | None]) -> None:
    with benchmark.issues.skipping():
        track = track_of()
        for flaw in track.flaws() if track is not None else ():
            benchmark.issues.add(flaw)


def _targets(objects: tuple[str, ...] | None) -> str:
    if objects is None:
        return "not told"
    return {0: "none", 1: "single"}.get(len(objects), "multiple")
