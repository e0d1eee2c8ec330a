"""The file that a benchmark's server expects: predictions in, a zip of pictures out.

    <video>/<expression>/<frame>.png                MeViS
    Annotations/<video>/<expression>/<frame>.png    Ref-YouTube-VOS

All pictures are written anew as grey 0 and 255, whatever they were. A file is there in full or not at all, and the same
predictions give the same file to the last byte.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from thinkseg.data import BENCHMARKS
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.errors import SettingsError
from thinkseg.evaluation.predictions import Masks, open_predictions, png
from thinkseg.ops.masks import empty
from thinkseg.storage.atomic import replacing, writing
from thinkseg.storage.run_folder import ROWS, read_rows
from thinkseg.types import Progress


def write_submission(benchmark: Benchmark, folder: Path, out: Path, progress: Progress | None = None) -> int:
    """Writes the zip; returns how many expressions have empty masks because their reply could not be used.

    folder: pictures in the benchmark's layout, or an evaluation's folder. progress: called with (done, total)
    expressions. Raises SettingsError if there is no server or anything is missing, PredictionError if a mask cannot be
    used; then there is no file.
    """
    place = BENCHMARKS[benchmark.name].zip_folder
    if place is None:
        servers = ", ".join(name for name, source in BENCHMARKS.items() if source.zip_folder is not None)
        raise SettingsError(f"{benchmark.name} has no server, only {servers} do: score it here with thinkseg score")
    masks_of = _Answers(benchmark, folder)
    _check_complete(benchmark, folder, masks_of)
    with writing(out), replacing(out) as partial, zipfile.ZipFile(partial, "w") as archive:
        for done, expression in enumerate(benchmark.expressions, start=1):
            for name, picture in _pictures(benchmark, expression, masks_of):
                # Without a date of its own an entry would get the current one.
                archive.writestr(zipfile.ZipInfo(place + name), picture)
            if progress:
                progress(done, len(benchmark.expressions))
    return len(masks_of.unusable)


class _Answers:
    """The masks of expressions; empty ones where the reply of an evaluation could not be used, which `unusable` lists.

    None where there are none. Raises PredictionError if they are broken.
    """

    def __init__(self, benchmark: Benchmark, folder: Path) -> None:
        self._benchmark = benchmark
        self._predictions = open_predictions(folder, benchmark.name)
        asked = {expression.key for expression in benchmark.expressions}
        rows = read_rows(folder / ROWS).values()
        self.unusable = {row["id"] for row in rows if row.get("failure")} & asked

    def __call__(self, expression: Expression) -> Masks | None:
        video = self._benchmark.videos[expression.video]
        size_wh = self._benchmark.frames(video.id).size_wh
        if expression.key in self.unusable:
            return empty(size_wh, len(video.frames))
        return self._predictions.of(expression, video, size_wh)


def _check_complete(benchmark: Benchmark, folder: Path, masks_of: _Answers) -> None:
    """Raises SettingsError unless there are masks for every expression."""
    missing = [expression for expression in benchmark.expressions if masks_of(expression) is None]
    if missing:
        raise SettingsError(
            f"{len(missing)} of {len(benchmark.expressions)} expressions have no masks in {folder}, first "
            f"{missing[0].folders[0]}: the server wants all of them"
        )


def _pictures(benchmark: Benchmark, expression: Expression, masks_of: _Answers) -> Iterator[tuple[str, bytes]]:
    """Name and content of each picture of an expression."""
    masks = masks_of(expression)
    assert masks is not None
    frames = benchmark.videos[expression.video].frames
    for frame in expression.scored:
        yield f"{expression.folders[0]}/{frames[frame]}.png", png(masks.union(frame))
