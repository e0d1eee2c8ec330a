"""What a reinforcement run asks about, in the order it asks: sources in, samples with the frames to show out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.data import open_benchmark, shapes
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.errors import DatasetError
from thinkseg.rewards import Prompt
from thinkseg.training.grpo.recipe import PromptSource
from thinkseg.types import Frames, VideoSample


class Prompts:
    """Prompt number i of a run, for every i: a pure function of the sources and the seed, its frames decoded once.

    Expressions of all sources are shuffled together, anew each time they have all been asked. A benchmark's frames are
    drawn from those it has a truth for. Raises DatasetError if a source cannot be read or tells no truth.
    """

    def __init__(self, sources: Sequence[PromptSource], num_frames: int, seed: int) -> None:
        self._num_frames = num_frames
        self._seed = seed
        self._shapes = sources[0] if sources[0].name == "shapes" else None
        self._expressions: list[tuple[Benchmark, Expression]] = []
        for source in sources if self._shapes is None else ():
            benchmark = open_benchmark(source.name, Path(source.root or ""), source.split)
            known = [e for e in benchmark.expressions if e.objects is not None and len(e.scored)]
            if not known:
                raise DatasetError(f"{source.name} {source.split}: no expression has a truth to learn from")
            self._expressions += [(benchmark, expression) for expression in known]
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> Prompt:
        if self._shapes:
            source = self._shapes
            sample = shapes.load(source.split, source.clip_offset + number, SOURCE_WH, source.category_weights)
            return _prompt(sample, sample_indices(len(sample.video), self._num_frames))
        benchmark, expression = self._expressions[self._place(number)]
        scored = sorted(expression.scored)
        shown = tuple(scored[i] for i in sample_indices(len(scored), self._num_frames))
        return _prompt(benchmark.sample(expression), shown)

    def _place(self, number: int) -> int:
        round_, at = divmod(number, len(self._expressions))
        if self._order is None or self._order[0] != round_:
            rng = np.random.default_rng([self._seed, round_])
            self._order = round_, rng.permutation(len(self._expressions))
        return int(self._order[1][at])


def _prompt(sample: VideoSample, shown: tuple[int, ...]) -> Prompt:
    return Prompt(replace(sample, video=_Remembered(sample.video)), shown)


class _Remembered:
    """A video whose frames are decoded once, for all rollouts of a group and their scores. Satisfies `types.Frames`."""

    def __init__(self, inner: Frames) -> None:
        self._inner = inner
        self._known: dict[int, np.ndarray] = {}
        self.name = inner.name
        self.size_wh = inner.size_wh
        self.fps = inner.fps

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return next(self.read([index]))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        new = sorted({int(i) for i in indices} - self._known.keys())
        for index, frame in zip(new, self._inner.read(new), strict=True):
            frame.setflags(write=False)  # shared from now on
            self._known[index] = frame
        return (self._known[int(i)] for i in indices)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(index)
