"""Questions of a benchmark whose targets are known."""

from __future__ import annotations

from collections.abc import Sequence

from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.selection.strata import candidates_of
from thinkseg.types import VideoSample


class AnnotationSource:
    """The expressions of a benchmark whose target objects are known.

    settings: identify the source; plain JSON values. candidates: all questions, grouped by video.
    Raises SettingsError if the benchmark has no such expression.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.settings = benchmark.run_settings()
        self._data = DataFingerprint(benchmark)
        self._benchmark = benchmark
        self._expressions = {one.key: one for one in benchmark.expressions if one.objects is not None}
        self.candidates = candidates_of(benchmark)

    def fingerprint(self, name: str) -> dict[str, str] | None:
        """Returns the fingerprints of a question's data, see `DataFingerprint.of`; None for an unknown id."""
        return self._data.of(self._expressions[name]) if name in self._expressions else None

    def sample(self, name: str) -> tuple[VideoSample, Sequence[int]]:
        """Returns the question with this id, which has a ground truth, and the frames that are annotated."""
        expression = self._expressions[name]
        return self._benchmark.sample(expression), expression.scored
