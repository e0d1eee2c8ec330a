"""The common form of all benchmarks: videos, their expressions, and frames and masks on access.

    benchmark = open_benchmark("revos", root)           # see thinkseg.data
    for expression in benchmark.expressions:            # names and numbers only
        sample = benchmark.sample(expression)           # a VideoSample; frames and masks are read on access
        sample.truth.union(expression.scored[0])

Opening a benchmark reads its lists of expressions. A sample opens the first frame of its video; other frames and all
masks are read on access, so that the masks of a benchmark are never in memory together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from thinkseg.data.readers.frame_rates import FrameTimes, Rate, Rates, has_times
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.mask_tracks import LazyTrack
from thinkseg.types import Frames, Masklets, VideoSample

REFERRING, REASONING, NO_TARGET = "referring", "reasoning", "no-target"
"""Categories that several benchmarks share."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video.

    id: its name in the benchmark's files, safe to join to a folder; may contain slashes.
    frames: names of its frames in order, without suffix. Predicted masks have the same names.
    size_wh: the size in the benchmark's lists; None if they state none.
    """

    id: str
    frames: tuple[str, ...]
    size_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression about one video.

    video: id of the video. id: unique within the video.
    category: the benchmark's own category, e.g. "referring".
    objects: ids of the target objects, which identify their masks; () for no target, None if the targets are unknown.
    scored: indices of the annotated frames; for a hidden ground truth, of the frames that need a prediction. Masks of
        other frames are unknown, not empty.
    folders: paths of predicted masks below the folder of predictions, with slashes. The first is the benchmark's own;
        published code uses the others.
    annotation_run: the annotator's run, in a benchmark whose protocol scores each run and takes their mean.
    """

    video: str
    id: str
    query: str
    category: str
    objects: tuple[str, ...] | None
    scored: Sequence[int]
    folders: tuple[str, ...]
    annotation_run: str = ""

    @property
    def key(self) -> str:
        """Unique in the benchmark; also the id of the expression's sample."""
        return f"{self.video}/{self.id}"


class Files(Protocol):
    """The frames and masks of one benchmark. Each loader has an implementation, which can be pickled."""

    def frame_paths(self, video: Video) -> Sequence[Path]:
        """Returns the expected path of each frame; () for a video file."""
        ...

    def frames(self, video: Video) -> Frames:
        """Returns the video without decoding it. Raises DatasetFileError or VideoError if it is missing."""
        ...

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        """Returns the masks of one object without reading them. Raises DatasetFileError for an unknown object."""
        ...

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        """Returns the merged masks of all annotated objects; None if the benchmark has none."""
        ...

    def frame_fingerprint(self, video: Video) -> str:
        """Returns the fingerprint of some frames of a video, see `thinkseg.storage.fingerprint`."""
        ...

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        """Returns the fingerprint of some masks of an object, and of what is scored with them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """One split of a benchmark.

    videos: by id. expressions: in the order of the benchmark's files, those of a video together.
    root: the folder of its files; None for a generated benchmark.
    issues: the issues found so far, counted or raised.
    settings: options of the loader that change the samples, as plain JSON values.
    rates: of videos whose frames have no times.
    """

    name: str
    split: str
    root: Path | None
    videos: Mapping[str, Video]
    expressions: tuple[Expression, ...]
    files: Files
    issues: DatasetIssues
    settings: Mapping[str, Any] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)

    @property
    def key(self) -> str:
        """The data set and its split, e.g. "revos:train"."""
        return f"{self.name}:{self.split}"

    def run_settings(self) -> dict[str, Any]:
        """Returns what identifies the samples in the settings of a run, as plain JSON values."""
        return {"data": self.name, "split": self.split, "fps": self.rates.given, **self.settings}

    def rate(self, video_id: str) -> Rate | None:
        """Returns the rate of a video without times; None if it is unknown, or not needed.

        Raises SettingsError if a rate is given for a video that has times, DatasetFileError for an invalid fps.json.
        """
        paths = self.files.frame_paths(self.videos[video_id])
        return self.rates.at(paths[0].parent) if paths else self.rates.of(self.files.frames(self.videos[video_id]))

    def times(self) -> FrameTimes:
        """Returns what is known about the times of the videos. Opens no folder of frames. Raises as `rate` does."""
        if self.root is None:  # generated videos have times
            return FrameTimes()
        rates = {name: self.rate(name) for name in self.videos}
        return FrameTimes.of({name: rate for name, rate in rates.items() if rate or not self._has_times(name)})

    def _has_times(self, video_id: str) -> bool:
        video = self.videos[video_id]
        return len(video.frames) == 1 or (not self.files.frame_paths(video) and has_times(self.files.frames(video)))

    def frames(self, video_id: str) -> Frames:
        """Returns a video without decoding it, with times if they or its rate are known.

        Raises DatasetFileError or VideoError if it is missing, or differs in size from the benchmark's lists, and as
        `rate` does.
        """
        video = self.videos[video_id]
        frames = self.files.frames(video)
        if video.size_wh not in (None, frames.size_wh):
            found, stated = "{}x{}".format(*frames.size_wh), "{}x{}".format(*video.size_wh)
            raise DatasetFileError(
                "size_mismatch", f"{self.name}: video {video.id}: frames are {found}, its entry states {stated}"
            )
        return self.rates.timed(frames)

    def truth(self, expression: Expression, size_wh: tuple[int, int]) -> Masklets | None:
        """Returns the ground truth, whose masks are read on access; None if the targets are unknown.

        Only the masks of `expression.scored` are meaningful. size_wh: size of the video. Raises DatasetFileError for an
        unknown object; so does access to a mask that is invalid or of another size.
        """
        if expression.objects is None:
            return None
        video = self.videos[expression.video]
        tracks = tuple(self.files.track(video, obj, size_wh) for obj in expression.objects)
        return Masklets(size_wh, len(video.frames), tracks)

    def foreground(self, video_id: str, size_wh: tuple[int, int]) -> Masklets | None:
        """Returns the merged masks of all annotated objects, read on access; None if the benchmark has none."""
        video = self.videos[video_id]
        track = self.files.foreground(video, size_wh)
        return None if track is None else Masklets(size_wh, len(video.frames), (track,))

    def sample(self, expression: Expression) -> VideoSample:
        """Returns an expression with its video and ground truth. Raises DatasetFileError or VideoError."""
        frames = self.frames(expression.video)
        return VideoSample(
            id=expression.key,
            video=frames,
            query=expression.query,
            category=expression.category,
            truth=self.truth(expression, frames.size_wh),
            foreground=self.foreground(expression.video, frames.size_wh),
        )

    def samples(self) -> Iterator[VideoSample]:
        """Yields the sample of each expression. Errors go to `issues`."""
        for expression in self.expressions:
            with self.issues.skipping():
                yield self.sample(expression)
