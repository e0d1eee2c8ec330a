"""Where questions come from: the shapes world or a benchmark in, candidates and samples with their truth out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from thinkseg.data.benchmarks.base import NO_TARGET, REFERRING, Benchmark
from thinkseg.data.cot import Targets, Type
from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames
from thinkseg.errors import SettingsError
from thinkseg.types import Progress, VideoSample


class Source(Protocol):
    """Questions with known truth.

    settings: what it is, plain JSON values. candidates: all questions, those about one video together.
    """

    settings: dict[str, Any]
    candidates: list[Candidate]

    def sample(self, name: str) -> tuple[VideoSample, Sequence[int]]:
        """The question with that id, whose truth is known; and the frames whose masks are."""
        ...


class ShapesSource:
    """The first questions about clips `start` .. `start` + `pool` - 1 of a split of the shapes world."""

    def __init__(self, split: str, start: int, pool: int, progress: Progress | None = None) -> None:
        from thinkseg.data.shapes import episode

        self.settings: dict[str, Any] = {"data": "shapes", "split": split, "start": start}
        self._split = split
        self._indices: dict[str, int] = {}
        self.candidates: list[Candidate] = []
        for done, index in enumerate(range(start, start + pool), start=1):
            one = episode(split, index)
            question = one.questions[0]
            targets = targets_of(len(question.targets))
            self.candidates.append(Candidate(one.id, one.id, type_of(question.category), targets))
            self._indices[one.id] = index
            if progress:
                progress(done, pool)

    def sample(self, name: str) -> tuple[VideoSample, Sequence[int]]:
        from thinkseg.data.shapes import load

        sample = load(self._split, self._indices[name])
        return sample, range(len(sample.video))


class BenchmarkSource:
    """The expressions of a benchmark whose targets are told.

    fps: frames a second of videos that carry no times, so that frames are labelled in seconds; numbered otherwise.
    Raises SettingsError if no targets are told.
    """

    def __init__(self, benchmark: Benchmark, fps: float | None = None) -> None:
        self.settings: dict[str, Any] = {"data": benchmark.name, "split": benchmark.split, "fps": fps}
        self._benchmark = benchmark
        self._fps = fps
        self._expressions = {one.key: one for one in benchmark.expressions if one.objects is not None}
        self.candidates = [
            Candidate(key, one.video, type_of(one.category), targets_of(len(one.objects or ())))
            for key, one in self._expressions.items()
        ]
        if not self.candidates:
            raise SettingsError(f"{benchmark.name}, {benchmark.split}: its targets are not told: choose another split")

    def sample(self, name: str) -> tuple[VideoSample, Sequence[int]]:
        expression = self._expressions[name]
        sample = self._benchmark.sample(expression)
        # Nothing is kept: a question asks for few frames of its video.
        video = CachedFrames(sample.video, ByteBudget(0), self._fps)
        return replace(sample, video=video), expression.scored


NONE = "no target"


STRATA = ("referring, single", "referring, multiple", "reasoning, single", "reasoning, multiple", NONE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may be drawn. id: unique in its data set; video: id of its video."""

    id: str
    video: str
    type: Type
    targets: Targets

    @property
    def stratum(self) -> str:
        """One of `STRATA`."""
        return NONE if self.targets == "none" else f"{self.type}, {self.targets}"


def type_of(category: str) -> Type:
    """What a question of a category takes: reasoning, unless it is plain referring or nothing is told.

    Questions without a target have no kind beside that in most data sets; they count as referring.
    """
    return "referring" if category in (REFERRING, NO_TARGET, "none", "") else "reasoning"


def targets_of(num_objects: int) -> Targets:
    """How many targets there are, in a word."""
    return "none" if num_objects == 0 else "single" if num_objects == 1 else "multiple"
