"""Questions of data sets by id, as prompts with their ground truth and frames in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinkseg.data import BENCHMARKS, check_not_empty, open_benchmark
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import frames_shown
from thinkseg.server.requests import ScoreRequest
from thinkseg.types import Frames
from thinkseg.web.errors import RequestError


@dataclass(frozen=True, slots=True)
class DataSpec:
    """A data set to serve: NAME:SPLIT=FOLDER, or shapes:SPLIT. key: as in `Benchmark.key`."""

    name: str
    split: str
    root: Path | None

    @property
    def key(self) -> str:
        return f"{self.name}:{self.split}"


def read_specs(texts: Sequence[str]) -> list[DataSpec]:
    """Parses the data sets of a command line. Raises SettingsError for an invalid or repeated one."""
    specs = [_spec(text) for text in texts]
    keys = [spec.key for spec in specs]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise SettingsError(f"DATA: {repeated[0]} is given {keys.count(repeated[0])} times; give it once")
    return specs


def _spec(text: str) -> DataSpec:
    found = re.fullmatch(r"([^:=]+):([^:=]+)(?:=(.+))?", text)
    if not found or found[1] not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise SettingsError(f"DATA: {text!r} is not a data set; give NAME:SPLIT=FOLDER, with a NAME of {known}")
    name, split, root = found.groups()
    if BENCHMARKS[name].generated != (root is None):
        given = f"{name}:{split}" if root else f"{name}:{split}=FOLDER"
        raise SettingsError(f"DATA: {text!r} {'has no' if root else 'needs its'} folder; give {given}")
    return DataSpec(name, split, Path(root) if root else None)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPrompt:
    """A prompt whose ground truth is in memory. frames: the frames shown; None if no reward needs them."""

    prompt: Prompt
    frames: Frames | None


class Questions:
    """The questions of data sets.

    Raises DatasetError if a data set cannot be read, or has no question with ground truth.
    """

    def __init__(self, specs: Sequence[DataSpec]) -> None:
        self._generated = {spec.key: spec for spec in specs if BENCHMARKS[spec.name].generated}
        opened = [open_benchmark(spec.name, spec.root, spec.split) for spec in specs if spec.root]
        for spec in self._generated.values():
            open_benchmark(spec.name, split=spec.split, limit=1)  # an error for an unknown split
        for benchmark in opened:
            check_not_empty(benchmark)
        self._benchmarks = {benchmark.key: benchmark for benchmark in opened}
        self._expressions = {benchmark.key: _with_truth(benchmark) for benchmark in opened}

    def describe(self) -> dict[str, int | None]:
        """Returns the number of questions by data set; None for one without end."""
        files = {key: len(expressions) for key, expressions in self._expressions.items()}
        return {**files, **dict.fromkeys(self._generated)}

    def find(self, asked: ScoreRequest) -> tuple[Benchmark, Expression]:
        """Returns the question of a request. Raises RequestError for an unknown one or frames without ground truth."""
        if asked.dataset in self._generated:
            benchmark = _generated(self._generated[asked.dataset], asked.id)
            expressions: Mapping[str, Expression] = {one.key: one for one in benchmark.expressions}
        elif asked.dataset in self._benchmarks:
            benchmark, expressions = self._benchmarks[asked.dataset], self._expressions[asked.dataset]
        else:
            served = ", ".join(self.describe())
            raise RequestError(404, f"dataset: {asked.dataset!r} is not served; it must be one of {served}")
        expression = expressions.get(asked.id)
        if expression is None:
            raise RequestError(404, f"id: no question {asked.id!r} with ground truth in {asked.dataset}")
        if unknown := set(asked.indices).difference(expression.scored):
            raise RequestError(422, f"indices: frame {min(unknown)} of {asked.id!r} has no ground truth")
        return benchmark, expression


def _with_truth(benchmark: Benchmark) -> dict[str, Expression]:
    """Returns the expressions with ground truth by key."""
    usable = {one.key: one for one in benchmark.expressions if one.objects is not None and len(one.scored)}
    if not usable:
        raise DatasetError(f"{benchmark.key}: no expression has ground truth to score with; choose another split")
    return usable


def _generated(spec: DataSpec, identity: str) -> Benchmark:
    """Returns a benchmark of the sample whose id has its index, as in "train-000017/0"; of none for another id."""
    found = re.search(r"-([0-9]{1,9})/", identity)
    return open_benchmark(spec.name, split=spec.split, start=int(found[1]) if found else 0, limit=1 if found else 0)


def load_prompt(benchmark: Benchmark, expression: Expression, asked: ScoreRequest) -> LoadedPrompt:
    """Reads the ground truth of a request, and the frames if they are tracked.

    Raises RequestError if the video has another size, VideoError or DatasetError for invalid files.
    """
    sample = benchmark.sample(expression)
    if sample.video.size_wh != tuple(asked.source_wh):
        found = "{}x{}".format(*sample.video.size_wh)
        raise RequestError(422, f"source_wh: the video of {asked.id!r} is {found}, that of the request is not")
    prompt = Prompt(sample, tuple(asked.indices))
    for read_once in ("areas", "boxes", "masklets"):
        getattr(prompt, read_once)  # cached: scoring reads no file
    tracked = asked.weights.get("consistency") and prompt.shows_target
    return LoadedPrompt(prompt, frames_shown(prompt) if tracked else None)
