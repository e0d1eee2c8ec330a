"""The prompts of a GRPO run: samples of its sources, in random order, with the frames to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.data import shapes
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.errors import DatasetError
from thinkseg.rewards import Prompt
from thinkseg.training.grpo.recipe import PromptSource
from thinkseg.types import Frames, VideoSample, View


class PromptDataset:
    """The endless sequence of a run's prompts. Prompt i depends on the sources and the seed only.

    Expressions of all sources are shuffled together, in a new order per epoch. Frames of a benchmark are chosen among
    those with ground truth. Each frame of a prompt is decoded once.
    Raises DatasetError if a source is unreadable or has no ground truth, SettingsError for a selection of other data.
    """

    def __init__(self, sources: Sequence[PromptSource], num_frames: int, seed: int) -> None:
        self._num_frames = num_frames
        self._seed = seed
        self._shapes = sources[0] if sources[0].name == "shapes" else None
        self._expressions: list[tuple[Benchmark, Expression]] = []
        for source in sources if self._shapes is None else ():
            benchmark = source.open()
            usable = [e for e in benchmark.expressions if e.objects is not None and len(e.scored)]
            if not usable:
                raise DatasetError(
                    f"{source.name} {source.split}: no expression has ground truth to train on; choose another split"
                )
            self._expressions += [(benchmark, expression) for expression in usable]
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def epoch_size(self) -> int:
        """The number of expressions; 0 for shapes, which are endless."""
        return len(self._expressions)

    def fingerprint(self) -> dict[str, str]:
        """Returns the fingerprint of each benchmark, see `DataFingerprint`; the recipe alone defines shapes."""
        return {f"{i}: {b.name} {b.split}": DataFingerprint(b).of_all() for i, b in enumerate(self._benchmarks())}

    def check_times(self, view: View) -> None:
        """Raises SettingsError if a view wants seconds and a source has a video whose times are unknown."""
        for benchmark in self._benchmarks():
            benchmark.times().decide(view)

    def _benchmarks(self) -> Iterable[Benchmark]:
        return dict.fromkeys(benchmark for benchmark, _ in self._expressions)

    def __getitem__(self, index: int) -> Prompt:
        if self._shapes:
            source = self._shapes
            sample = shapes.load(source.split, source.clip_offset + index, SOURCE_WH, source.category_weights)
            return _prompt(sample, sample_indices(len(sample.video), self._num_frames))
        benchmark, expression = self._expressions[self._shuffled(index)]
        scored = sorted(expression.scored)
        shown = tuple(scored[i] for i in sample_indices(len(scored), self._num_frames))
        return _prompt(benchmark.sample(expression), shown)

    def _shuffled(self, index: int) -> int:
        epoch, position = divmod(index, len(self._expressions))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._order = epoch, rng.permutation(len(self._expressions))
        return int(self._order[1][position])


def _prompt(sample: VideoSample, shown: tuple[int, ...]) -> Prompt:
    return Prompt(replace(sample, video=_PromptFrames(sample.video)), shown)


class _PromptFrames:
    """A video whose frames are decoded once for all rollouts of a group and their rewards. Satisfies `types.Frames`."""

    def __init__(self, inner: Frames) -> None:
        self._inner = inner
        self._decoded: dict[int, np.ndarray] = {}
        self.name = inner.name
        self.size_wh = inner.size_wh
        self.fps = inner.fps

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return next(self.read([index]))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        new = sorted({int(i) for i in indices} - self._decoded.keys())
        for index, frame in zip(new, self._inner.read(new), strict=True):
            frame.setflags(write=False)  # shared by all readers
            self._decoded[index] = frame
        return (self._decoded[int(i)] for i in indices)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(index)
