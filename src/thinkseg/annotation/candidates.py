"""Questions of a benchmark whose targets are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinkseg.data.benchmarks.base import NO_TARGET, REFERRING, Benchmark
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.cot import Targets, Type
from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames
from thinkseg.errors import SettingsError
from thinkseg.types import VideoSample

NO_TARGET_STRATUM = "no target"

STRATA = ("referring, single", "referring, multiple", "reasoning, single", "reasoning, multiple", NO_TARGET_STRATUM)


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
        return NO_TARGET_STRATUM if self.targets == "none" else f"{self.type}, {self.targets}"


class AnnotationSource:
    """The expressions of a benchmark whose target objects are known.

    settings: identify the source; plain JSON values. candidates: all questions, grouped by video.
    fps: frames per second of videos without times, whose frames are then labeled in seconds (default: by index).
    Raises SettingsError if the benchmark has no such expression.
    """

    def __init__(self, benchmark: Benchmark, fps: float | None = None) -> None:
        self.settings = benchmark.run_settings(fps)
        self._data = DataFingerprint(benchmark)
        self._benchmark = benchmark
        self._fps = fps
        self._expressions = {one.key: one for one in benchmark.expressions if one.objects is not None}
        self.candidates: list[Candidate] = [
            Candidate(key, one.video, question_type(one.category), target_count(len(one.objects or ())))
            for key, one in self._expressions.items()
        ]
        if not self.candidates:
            problem = "the targets are not public" if benchmark.expressions else "no expression can be read"
            raise SettingsError(f"{benchmark.name}, split {benchmark.split!r}: {problem}; choose another split")

    def fingerprint(self, name: str) -> dict[str, str] | None:
        """Returns the fingerprints of a question's data, see `DataFingerprint.of`; None for an unknown id."""
        return self._data.of(self._expressions[name]) if name in self._expressions else None

    def sample(self, name: str) -> tuple[VideoSample, Sequence[int]]:
        """Returns the question with this id, which has a ground truth, and the frames that are annotated."""
        expression = self._expressions[name]
        sample = self._benchmark.sample(expression)
        # No cache: a question shows few frames of its video, each once.
        video = CachedFrames(sample.video, ByteBudget(0), self._fps)
        return replace(sample, video=video), expression.scored


def question_type(category: str) -> Type:
    """Returns "referring" for plain referring, no target and no category, else "reasoning".

    Questions without a target have no further category in most data sets, so they count as referring.
    """
    return "referring" if category in (REFERRING, NO_TARGET, "none", "") else "reasoning"


def target_count(num_objects: int) -> Targets:
    """Returns "none", "single" or "multiple"."""
    return "none" if num_objects == 0 else "single" if num_objects == 1 else "multiple"
