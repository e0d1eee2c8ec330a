"""The synthetic shapes world (`thinkseg.data.shapes`) as a benchmark: one expression per generated clip.

It has no files: clips, frames and masks are computed from the split and the index of a sample, and every frame is
annotated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.mask_tracks import LazyTrack
from thinkseg.data.shapes import CATEGORIES
from thinkseg.data.shapes.episodes import SOURCE_WH, Episode, episode, episode_masklets
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.simulation import Clip
from thinkseg.errors import DatasetError
from thinkseg.rle import Rle
from thinkseg.types import Frames

Weights = tuple[tuple[str, float], ...]


def load(
    root: Path | None,
    split: str,
    issues: DatasetIssues,
    *,
    start: int = 0,
    limit: int = 300,
    category_weights: Mapping[str, float] = MappingProxyType({}),
) -> Benchmark:
    """Returns samples `start` to `start + limit - 1` of a split; see `thinkseg.data.open_benchmark`.

    root: not used. category_weights: relative frequency of a category (default: that of
    `CATEGORY_WEIGHTS`); other weights give other clips and queries under the same ids.
    Raises DatasetError for a negative start or an unknown category.
    """
    if unknown := sorted(category_weights.keys() - CATEGORIES):
        raise DatasetError(f"shapes: unknown category {unknown[0]!r}; must be one of {', '.join(CATEGORIES)}")
    weights = tuple(sorted(category_weights.items()))
    videos: dict[str, Video] = {}
    expressions: list[Expression] = []
    for index in range(start, start + limit):
        sample = _episode(split, index, weights)
        frames = tuple(f"{frame:05d}" for frame in range(sample.clip.num_frames))
        videos[sample.id] = Video(sample.id, frames, SOURCE_WH)
        expressions.append(_expression(sample))
    settings = {"category_weights": dict(category_weights)}
    files = _Clips(split, weights)
    return Benchmark("shapes", split, None, videos, tuple(expressions), files, issues, settings)


def _expression(sample: Episode) -> Expression:
    question = sample.questions[0]
    return Expression(
        video=sample.id,
        id="0",
        query=sample.texts[0],
        category=question.category,
        objects=tuple(map(str, question.targets)),
        scored=range(sample.clip.num_frames),
        folders=(f"{sample.id}/0",),
    )


class _Clips:
    """Rendered frames and exact masks (`Files`)."""

    def __init__(self, split: str, weights: Weights) -> None:
        self._split = split
        self._weights = weights

    def frame_paths(self, video: Video) -> Sequence[Path]:
        return ()

    def frames(self, video: Video) -> Frames:
        return ShapesVideo(self._clip(video), SOURCE_WH, video.id)

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        return _ClipTrack(self._clip(video), int(obj), size_wh)

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        return None

    def frame_fingerprint(self, video: Video) -> str:
        return ""

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return obj

    def _clip(self, video: Video) -> Clip:
        return _episode(self._split, int(video.id.rpartition("-")[2]), self._weights).clip


class _ClipTrack(LazyTrack):
    """Masks of one object, computed together on the first access."""

    def __init__(self, clip: Clip, obj: int, size_wh: tuple[int, int]) -> None:
        super().__init__(clip.num_frames)
        self._clip = clip
        self._obj = obj
        self._size_wh = size_wh

    def issues(self) -> Iterator[DatasetFileError]:
        return iter(())

    def _read(self, frame: int) -> Rle | None:
        return self._masks[frame]

    @cached_property
    def _masks(self) -> Sequence[Rle | None]:
        return tuple(episode_masklets(self._clip, [self._obj], self._size_wh).rles[0])


@lru_cache(maxsize=64)
def _episode(split: str, index: int, weights: Weights) -> Episode:
    """A cache serves the frames and the tracks of a clip, and expressions of a batch."""
    return episode(split, index, category_weights=dict(weights))
