"""What all benchmarks look like once they are read: videos, expressions about them, frames and masks on demand.

    benchmark = open_benchmark("revos", root)           # see thinkseg.data
    for expression in benchmark.expressions:            # names and numbers only, cheap
        sample = benchmark.sample(expression)           # a VideoSample; frames and masks are read as they are used
        sample.truth.union(expression.scored[0])

Listing a benchmark reads its lists. A sample opens its video's first frame, and everything else waits until it is used,
so that the masks of a benchmark are never in memory together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.mask_tracks import LazyTrack
from thinkseg.types import Frames, Masklets, VideoSample

REFERRING, REASONING, NO_TARGET = "referring", "reasoning", "no-target"
"""Categories that several benchmarks share."""


@dataclass(frozen=True, slots=True)
class Video:
    """One video.

    id: its name in the benchmark's files; may hold slashes, and is safe to join to a folder.
    frames: names of its frames in the order shown, without suffix. Predicted masks bear the same names.
    size_wh: as the benchmark's lists state it; None where they do not.
    """

    id: str
    frames: tuple[str, ...]
    size_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression about one video.

    video: id of the video. id: unique within the video; text even where files have a number.
    category: what kind it is, by the benchmark's own kinds, e.g. "referring".
    objects: ids of its target objects, by which their masks are found; () if it has no target, None if the benchmark
        does not tell.
    scored: frames, as positions in the video, for which the benchmark has a truth (or, where it keeps the truth to
        itself, asks for a prediction). Masks of other frames are unknown, not empty.
    folders: where predicted masks lie below the folder of predictions, as paths with slashes. The first is the
        benchmark's own way; others are found in published code.
    group: which of several runs the expression belongs to, where a protocol scores runs and takes their mean.
    """

    video: str
    id: str
    query: str
    category: str
    objects: tuple[str, ...] | None
    scored: Sequence[int]
    folders: tuple[str, ...]
    group: str = ""

    @property
    def key(self) -> str:
        """Unique in the benchmark: the id of the expression's sample."""
        return f"{self.video}/{self.id}"


class Files(Protocol):
    """How one benchmark's frames and masks are found. Each loader has one; it can be copied to other processes."""

    def frame_paths(self, video: Video) -> Sequence[Path]:
        """Where each frame is, or should be; nothing where the video is one file."""
        ...

    def frames(self, video: Video) -> Frames:
        """The video, with nothing decoded. Raises TreeError or VideoError if it is not there."""
        ...

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        """The masks of one object, with nothing decoded. Raises TreeError if there is no such object."""
        ...

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        """All annotated objects merged, where the benchmark has that."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """One split of a benchmark.

    videos: by id. expressions: in the order of the benchmark's files, those of a video together.
    problems: flaws met so far; says whether they are counted and passed over, or raised.
    """

    name: str
    split: str
    root: Path
    videos: Mapping[str, Video]
    expressions: tuple[Expression, ...]
    files: Files
    issues: DatasetIssues

    def frames(self, video_id: str) -> Frames:
        """A video of the benchmark, with nothing decoded.

        Raises TreeError or VideoError if it is not there or is not of the size the benchmark states.
        """
        video = self.videos[video_id]
        frames = self.files.frames(video)
        if video.size_wh not in (None, frames.size_wh):
            found, stated = "{}x{}".format(*frames.size_wh), "{}x{}".format(*video.size_wh)
            raise DatasetFileError(
                "size", f"{self.name}: frames of video {video.id} are {found}, its entry says {stated}"
            )
        return frames

    def truth(self, expression: Expression, size_wh: tuple[int, int]) -> Masklets | None:
        """The true masks, read as they are used; only those of `expression.scored` mean anything.

        size_wh: size of the video. None if the benchmark does not tell. Raises TreeError if an object is not there; and
        so does using a mask that is broken or of another size.
        """
        if expression.objects is None:
            return None
        video = self.videos[expression.video]
        tracks = tuple(self.files.track(video, obj, size_wh) for obj in expression.objects)
        return Masklets(size_wh, len(video.frames), tracks)

    def foreground(self, video_id: str, size_wh: tuple[int, int]) -> Masklets | None:
        """The masks of all annotated objects merged, where the benchmark has that, read as they are used."""
        video = self.videos[video_id]
        track = self.files.foreground(video, size_wh)
        return None if track is None else Masklets(size_wh, len(video.frames), (track,))

    def sample(self, expression: Expression) -> VideoSample:
        """An expression as a question with its truth. Raises TreeError or VideoError where its parts do."""
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
        """All expressions as questions, made one by one. One that cannot be made goes to `issues`."""
        for expression in self.expressions:
            with self.issues.skipping():
                yield self.sample(expression)
