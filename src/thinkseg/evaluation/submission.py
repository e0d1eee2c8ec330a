"""The zip file that a benchmark's server expects.

    <video>/<expression>/<frame>.png                MeViS
    Annotations/<video>/<expression>/<frame>.png    Ref-YouTube-VOS

All images are encoded again, as gray 0 and 255. The file is written atomically, and the same predictions give an
identical file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from thinkseg.data import BENCHMARKS
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.errors import SettingsError
from thinkseg.evaluation.predictions import Masks, encode_png, open_predictions
from thinkseg.ops.masks import empty
from thinkseg.storage.atomic import replacing
from thinkseg.storage.outputs import writing
from thinkseg.storage.run_folder import ROWS, read_rows
from thinkseg.types import ProgressCallback


def write_submission(benchmark: Benchmark, folder: Path, out: Path, progress: ProgressCallback | None = None) -> int:
    """Writes the zip file; returns how many expressions have empty masks because of a failure.

    folder: mask images in the benchmark's layout, or the folder of an evaluation. progress: called with (done, total)
    expressions. Raises SettingsError for a benchmark without a server or for missing masks, PredictionError for an
    unusable mask; then there is no file.
    """
    prefix = BENCHMARKS[benchmark.name].zip_folder
    if prefix is None:
        servers = ", ".join(name for name, source in BENCHMARKS.items() if source.zip_folder is not None)
        raise SettingsError(f"{benchmark.name}: has no server (only {servers}); score it with thinkseg score")
    masks_of = _SubmittedMasks(benchmark, folder)
    _check_complete(benchmark, folder, masks_of)
    with writing(out), replacing(out) as partial, zipfile.ZipFile(partial, "w") as archive:
        for done, expression in enumerate(benchmark.expressions, start=1):
            for name, image in _images(benchmark, expression, masks_of):
                # Without a date of its own an entry would get the current one.
                archive.writestr(zipfile.ZipInfo(prefix + name), image)
            if progress:
                progress(done, len(benchmark.expressions))
    return len(masks_of.failed)


class _SubmittedMasks:
    """Returns the masks of an expression; empty ones after a failure, None if there are no files.

    failed: ids of the expressions with a failure. Raises PredictionError for unusable masks.
    """

    def __init__(self, benchmark: Benchmark, folder: Path) -> None:
        self._benchmark = benchmark
        self._predictions = open_predictions(folder, benchmark.name)
        expressions = {expression.key for expression in benchmark.expressions}
        rows = read_rows(folder / ROWS).values()
        self.failed = {row["id"] for row in rows if row.get("failure")} & expressions

    def __call__(self, expression: Expression) -> Masks | None:
        video = self._benchmark.videos[expression.video]
        size_wh = self._benchmark.frames(video.id).size_wh
        if expression.key in self.failed:
            return empty(size_wh, len(video.frames))
        return self._predictions.of(expression, video, size_wh)


def _check_complete(benchmark: Benchmark, folder: Path, masks_of: _SubmittedMasks) -> None:
    """Raises SettingsError unless every expression has masks."""
    missing = [expression for expression in benchmark.expressions if masks_of(expression) is None]
    if missing:
        raise SettingsError(
            f"{folder}: {len(missing)} of {len(benchmark.expressions)} expressions have no masks, first "
            f"{missing[0].folders[0]}; the server requires all of them"
        )


def _images(benchmark: Benchmark, expression: Expression, masks_of: _SubmittedMasks) -> Iterator[tuple[str, bytes]]:
    """Yields the name and content of each image of an expression."""
    masks = masks_of(expression)
    assert masks is not None
    frames = benchmark.videos[expression.video].frames
    for frame in expression.scored:
        yield f"{expression.folders[0]}/{frames[frame]}.png", encode_png(masks.union(frame))
