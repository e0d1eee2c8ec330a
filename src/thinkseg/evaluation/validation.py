"""The ground truth of a benchmark as predictions: written, read back and scored like the masks of a method."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.evaluation.predictions import Masks, PngPredictions, write_pictures


@dataclass(frozen=True, slots=True)
class TruthAsPng:
    """The truth as a method that knows it would hand it in: pictures of the scored frames, written and read again."""

    benchmark: Benchmark

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        truth = self.benchmark.truth(expression, size_wh)
        if truth is None:
            return None
        folder = tempfile.TemporaryDirectory(prefix="thinkseg-")
        write_pictures(truth, expression.scored, video, Path(folder.name) / expression.folders[0])
        masks = PngPredictions(Path(folder.name)).of(expression, video, size_wh)
        return None if masks is None else _Kept(masks, folder)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Masks whose files are there as long as they are used."""

    masks: Masks
    folder: tempfile.TemporaryDirectory[str]

    def union(self, frame: int) -> np.ndarray:
        return self.masks.union(frame)
