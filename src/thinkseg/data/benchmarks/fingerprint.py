"""Fingerprints of a benchmark's expressions, see `thinkseg.storage.fingerprint`.

A row of results names the query, the frames and the masks that it is about, so that results of one data set are not
taken for those of another with the same ids, or of the same one after a change. The folder of the files does not count.
"""

from __future__ import annotations

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.storage.fingerprint import text_fingerprint

MAX_EXPRESSIONS = 256
"""Expressions of a whole benchmark whose files are read."""


class DataFingerprint:
    """Fingerprints of the expressions of a benchmark, whose files are read once.

    Take that of an expression before its data are used: then files that change meanwhile do not get a row that counts.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._frames: dict[str, str] = {}
        self._known: dict[str, dict[str, str]] = {}

    def of(self, expression: Expression) -> dict[str, str]:
        """Returns the fingerprints of an expression's "query", "frames" and "masks"."""
        if expression.key not in self._known:
            self._known[expression.key] = self._read(expression)
        return self._known[expression.key]

    def _read(self, expression: Expression) -> dict[str, str]:
        video, files = self._benchmark.videos[expression.video], self._benchmark.files
        if video.id not in self._frames:
            self._frames[video.id] = text_fingerprint(*video.frames, files.frame_fingerprint(video), *self._rate(video))
        masks = None if expression.objects is None else [files.mask_fingerprint(video, o) for o in expression.objects]
        return {
            "query": text_fingerprint(expression.query, expression.category, expression.annotation_run),
            "frames": self._frames[video.id],
            "masks": text_fingerprint(repr(expression.scored), repr(masks)),
        }

    def _rate(self, video: Video) -> list[str]:
        """The rate of frames without times, unless the settings of the run have it."""
        benchmark = self._benchmark
        rate = None if benchmark.root is None or benchmark.rates.given is not None else benchmark.rate(video.id)
        return [] if rate is None else [f"{rate.fps:g}"]

    def of_all(self) -> str:
        """Returns the fingerprint of all queries, and of the files of `MAX_EXPRESSIONS` of them."""
        listed = self._benchmark.expressions
        queries = [f"{one.key} {one.query} {one.category} {one.objects} {one.scored}" for one in listed]
        chosen = listed[:: max(1, -(-len(listed) // MAX_EXPRESSIONS))]
        return text_fingerprint(*queries, *(str(self.of(one)) for one in chosen))
