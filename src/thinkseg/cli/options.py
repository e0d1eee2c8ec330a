"""Options that several commands share, their parsers, and the models and data sets they select."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import typer

from thinkseg.cli.declare import choice, command, flag, option, path, suggested, text
from thinkseg.data import BENCHMARKS
from thinkseg.errors import SettingsError
from thinkseg.report.formats import FORMATS, checked_formats

if TYPE_CHECKING:
    from thinkseg.console import Progress
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.data.readers.frame_rates import FrameTimes
    from thinkseg.prompts import Prompts
    from thinkseg.types import ChainFn, Policy, Tracker, View

CHAINS = ("veason", "revseg")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

Convention = Literal["pixels", "normalized_1000"]
"""The same as `thinkseg.types.Coordinates`, whose module loads numpy."""
COORDINATES: tuple[Convention, ...] = get_args(Convention)
ReadingName = Literal["strict", "repair"]
"""The same as `thinkseg.types.Reading`."""
READINGS: tuple[ReadingName, ...] = get_args(ReadingName)
Labels = Literal["seconds", "index"]
"""The same as `thinkseg.types.LabelUnit`."""
MAX_INTEGER = 2**32 - 1
"""Largest number, e.g. of a seed. The sizes and counts of a video or a data set are far below."""

FORMATS_HELP = f"formats of the masks, separated by commas: {', '.join(FORMATS)}"

Size = tuple[int, int]
Box = tuple[float, float, float, float]


def count(text: str) -> int:
    """An integer >= 1. Raises ValueError for other text, like all parsers here."""
    return _integer(text, least=1)


def non_negative_int(text: str) -> int:
    """An integer >= 0."""
    return _integer(text, least=0)


def indices(text: str) -> tuple[int, ...]:
    """Different integers >= 0, as in "0,1"."""
    found = tuple(_integer(part, least=0) for part in text.split(","))
    if len(set(found)) < len(found):
        raise ValueError(f"{text!r} has a number twice")
    return found


def words(text: str) -> tuple[str, ...]:
    """Arguments as a shell splits them."""
    return tuple(shlex.split(text))


def port(text: str) -> int:
    """A port, or 0."""
    return _integer(text, least=0, most=65_535)


def non_negative(text: str) -> float:
    """A finite number >= 0."""
    value = _number(text)
    if value is None or value < 0:
        raise ValueError(f"{text!r} is not a number >= 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, without 1."""
    value = _number(text)
    if value is None or not 0 <= value < 1:
        raise ValueError(f"{text!r} is not a share; give a number >= 0 and < 1")
    return value


def positive(text: str) -> float:
    """A finite number > 0."""
    value = _number(text)
    if value is None or value <= 0:
        raise ValueError(f"{text!r} is not a number > 0")
    return value


def temperature(text: str) -> float:
    """0, or a number in the range in which sampling is exact."""
    value = _number(text)
    if value is None or not (value == 0 or 1e-3 <= value <= 100):
        raise ValueError(f"{text!r} is not a temperature; give 0, or a number from 0.001 to 100")
    return value


def jpeg_quality(text: str) -> int:
    """An integer from 1 to 100."""
    value = count(text)
    if value > 100:
        raise ValueError(f"{text!r} is not a JPEG quality; give an integer from 1 to 100")
    return value


def device(text: str) -> str:
    """A device as torch names it."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:[0-9]{1,3})?", text):
        raise ValueError(f"{text!r} is not a device; give cpu, cuda or cuda:1")
    return text


def size(text: str) -> Size:
    """(width, height) of "560x420"."""
    from thinkseg.types import MAX_SIDE

    found = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text)
    if not found or max(int(found[1]), int(found[2])) > MAX_SIDE:
        raise ValueError(f"{text!r} is not a size; give width x height, e.g. 560x420, at most {MAX_SIDE} each")
    return int(found[1]), int(found[2])


def box(text: str) -> Box:
    """(x1, y1, x2, y2) of "10,20,110.5,90", with x1 < x2 and y1 < y2."""
    sides = [_number(part) for part in text.split(",")]
    if len(sides) != 4 or any(side is None for side in sides):
        raise ValueError(f"{text!r} is not a box; give x1,y1,x2,y2 in pixels, e.g. 10,20,110,90")
    x1, y1, x2, y2 = (float(side) for side in sides if side is not None)
    if x1 >= x2 or y1 >= y2:
        raise ValueError(f"{text!r} has no area; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def moment(text: str) -> int | float:
    """An int, the index of a frame ("57"), or a float, a time in seconds ("2.4s")."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    seconds = _number(text.removesuffix("s")) if text.endswith("s") else None
    if seconds is None or seconds < 0:
        raise ValueError(f"{text!r} is not a moment; give a time like 2.4s, or a frame index like 57")
    return seconds


def output(text: str) -> Path:
    """The path of a file or folder to write."""
    if not text:
        raise ValueError("is empty; give a path, '.' for the current folder")
    if text.startswith("~"):
        raise ValueError(f"{text!r} starts with ~, which the shell did not expand; give the full path, or ./{text}")
    return Path(text)


def formats(text: str) -> tuple[str, ...]:
    """Names of formats of masks, separated by commas."""
    try:
        return checked_formats(name.strip() for name in text.split(","))
    except SettingsError as error:
        raise ValueError(str(error).removeprefix("format: ")) from None


def _integer(text: str, least: int, most: int = MAX_INTEGER) -> int:
    if not re.fullmatch(r"[0-9]+", text) or (len(text) < 20 and int(text) < least):
        raise ValueError(f"{text[:40]!r} is not an integer >= {least}")
    if len(text) > 10 or int(text) > most:
        raise ValueError(f"{text[:40]!r} is too large; give at most {most}")
    return int(text)


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


Assignments = Annotated[
    list[str] | None,
    option(text, "FIELD=VALUE", "a field of the file and its value, e.g. num_frames=8; can be repeated", "--set"),
]
Out = Annotated[Path, option(output, "DIR", "folder for the results")]
ChainName = Annotated[
    str, suggested(CHAINS, "NAME", "how the policy is prompted: veason, revseg, or a chain of an installed package")
]
Coordinates = Annotated[
    Convention | None, choice(COORDINATES, "how the policy writes boxes (default: as the model's family does)")
]
TrackerName = Annotated[
    str, suggested(("flow",), "NAME", "model that tracks the boxes: flow, or a SAM 2 by folder or hub name")
]
BatchSize = Annotated[int, option(count, "B", "videos per batch")]
Fps = Annotated[
    float | None,
    option(
        positive, "F", "frames per second of frames without times (default: the data set's, or that of a file fps.json)"
    ),
]
KeepGoing = Annotated[bool, flag("--keep-going", "count invalid data and skip it")]
Predictions = Annotated[Path, option(path, "DIR", "folder of mask images, or of an evaluation")]
Corrected = Annotated[bool, flag("--corrected", "AP of tracks without the quirks of the official evaluator")]
Workers = Annotated[int, option(count, "N", "processes", show_default="one per core")]
ShapesSplit = Annotated[str, suggested(("train", "val", "zeroshot"), "NAME", "train, val or zeroshot")]
ShapesStart = Annotated[int, option(non_negative_int, "I", "index of the first clip")]

CORES = os.cpu_count() or 1


def corrected_for(name: str) -> dict[str, Any]:
    """What `command` is given for a benchmark other than ViCaS, the only one with the option --corrected."""
    return {} if name == "vicas" else {"corrected": False}


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """A part of a benchmark. `dataset_options` makes the class for one of them.

    Fields are keyword arguments of `thinkseg.data.open_benchmark`.
    """

    split: str
    name: ClassVar[str]

    def open(self, progress: Progress, keep_going: bool = False, fps: float | None = None) -> Benchmark:
        """The benchmark, or the part that is selected.

        keep_going: count invalid data and skip it. fps: of frames without times.
        """
        from thinkseg.data import check_not_empty, open_benchmark
        from thinkseg.data.readers.issues import DatasetIssues

        progress.show("reading annotations")
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "select"}
        opened = open_benchmark(self.name, issues=DatasetIssues(keep_going), fps=fps, **options)
        check_not_empty(opened)
        return self._selected(opened)

    def _selected(self, benchmark: Benchmark) -> Benchmark:
        return benchmark


@dataclass(frozen=True, kw_only=True)
class FileDatasetOptions(DatasetOptions):
    """A split of a benchmark with files."""

    root: Annotated[Path, option(path, "DIR", "folder that holds the data set")]


@dataclass(frozen=True, kw_only=True)
class SelectedDatasetOptions(FileDatasetOptions):
    """A split of a benchmark with files, or a part of it."""

    select: Annotated[
        Path | None, option(path, "FILE", "only the expressions of this file, which `thinkseg data select` wrote")
    ] = None

    def _selected(self, benchmark: Benchmark) -> Benchmark:
        from thinkseg.selection.files import select

        return select(benchmark, self.select) if self.select else benchmark


@dataclass(frozen=True, kw_only=True)
class ShapesOptions(DatasetOptions):
    """Samples of the shapes world."""

    start: ShapesStart = 0
    limit: Annotated[int, option(count, "N", "number of samples")] = 300


@cache
def dataset_options(name: str, preferred: str | None = None, whole: bool = False) -> type[DatasetOptions]:
    """The options of one benchmark. preferred: default split, if the benchmark has it; else its first is.

    whole: without the option --select.
    """
    splits = BENCHMARKS[name].splits
    split = Annotated[str, suggested(splits, "NAME", ", ".join(splits))]
    default = preferred if preferred in splits else splits[0]
    files = FileDatasetOptions if whole else SelectedDatasetOptions
    made: type[DatasetOptions] = make_dataclass(
        "BenchmarkOptions",
        [("split", split, default)],
        bases=(ShapesOptions if BENCHMARKS[name].generated else files,),
        namespace={"name": name},
        frozen=True,
        kw_only=True,
    )
    return made


def print_issues(benchmark: Benchmark) -> None:
    """Prints to standard error what was skipped."""
    for kind, number in benchmark.issues.counts.most_common():
        for example in benchmark.issues.examples[kind]:
            print(f"thinkseg: {kind} ({number}): {' '.join(example.split())}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How videos are shown to a policy."""

    frames: Annotated[
        int | None, option(count, "N", "number of frames shown to the policy (default: the policy's own)")
    ] = None
    frame_size: Annotated[Size | None, option(size, "WxH", "size of these frames, e.g. 560x560")] = None
    closeup_size: Annotated[
        Size | None, option(size, "WxH", "size of the one frame that the chain revseg shows again")
    ] = None
    label_unit: Annotated[
        Labels | None,
        choice(get_args(Labels), "labels of the frames (default: as trained, else seconds if the times are known)"),
    ] = None
    chain: ChainName = "veason"
    prompts: Annotated[
        Path | None, option(path, "FILE", "wording of the chain, YAML (default: the policy's own, else the built-in)")
    ] = None

    def chain_function(self) -> ChainFn:
        """The chain requested. Raises SettingsError if it is unknown, or --prompts is not a wording of it."""
        from thinkseg.chains import get_chain

        chain = get_chain(self.chain)
        self._wording()
        return chain

    def _wording(self) -> Prompts | None:
        from thinkseg.storage.prompt_file import read_prompts

        return read_prompts(self.prompts, self.chain) if self.prompts else None

    def view(self, policy: Policy) -> View:
        """The view requested; the policy decides about the rest."""
        from thinkseg.pipeline import changed_view, resolve_view

        sizes = (self.frames, self.frame_size, self.closeup_size)
        return resolve_view(policy, changed_view(policy.view, *sizes, self.label_unit, self._wording()))


@dataclass(frozen=True, kw_only=True)
class PlacementOptions:
    """Where a model runs."""

    device: Annotated[str | None, option(device, "NAME", "cpu, cuda or cuda:1 (default: a GPU if there is one)")] = None
    precision: Annotated[str, choice(PRECISIONS, "of the weights")] = "auto"

    def placement(self) -> dict[str, Any]:
        """Device and precision, as keyword arguments of `thinkseg.models.load_tracker`.

        Raises ModelError for a device that cannot be used, also if neither model would run on it.
        """
        if self.device:
            from thinkseg.models.devices import resolve_device

            resolve_device(self.device)
        return {"device": self.device, "precision": self.precision}


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(PlacementOptions, ViewOptions):
    """How a policy is prompted and run."""

    temperature: Annotated[float, option(temperature, "T", "of sampling; 0 is greedy")] = 0.0
    seed: Annotated[int, option(non_negative_int, "S", "of sampling, for a temperature > 0")] = 0
    max_tokens: Annotated[int | None, option(count, "N", "longest reply, in tokens (default: 1024)")] = None
    coordinates: Coordinates = None
    reading: Annotated[
        ReadingName, choice(READINGS, "of replies: in the exact form only, or also after repairs without guessing")
    ] = "repair"
    jpeg_quality: Annotated[
        int | None, option(jpeg_quality, "Q", "send frames to a server as JPEG, 1 to 100 (default: as PNG)")
    ] = None

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `thinkseg.models.load_policy`, which are also stored with the results."""
        # Unset ones are omitted, so that results of earlier versions, which lack them, can resume.
        optional = {
            "max_new_tokens": self.max_tokens,
            "coordinates": self.coordinates,
            "jpeg_quality": self.jpeg_quality,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {**self.placement(), "temperature": self.temperature, "seed": self.seed, **given}


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The policy and the tracker."""

    policy: Annotated[
        str | None,
        suggested(
            ("shapes", "shapes-revseg", "openai:"),
            "NAME",
            "model that answers: a folder, a hub name, openai:MODEL@BASE_URL, or a bundled one: shapes (default), "
            "or shapes-revseg (default with --chain revseg)",
        ),
    ] = None
    tracker: TrackerName = "flow"

    def check_times(self, asking: PolicyOptions, times: FrameTimes) -> None:
        """Raises SettingsError if the policy needs seconds and the times of a video are unknown. Loads no weights."""
        from thinkseg.models import clock_of
        from thinkseg.pipeline import resolve_clock

        name = self._policy_name(asking.chain)
        times.check(resolve_clock(name, clock_of(name), asking.label_unit or "auto"))

    def load_policy(self, chain: str, progress: Progress, **settings: Any) -> Policy:
        """The policy requested, or the one bundled for the chain."""
        return load_policy(self._policy_name(chain), progress, **settings)

    def load_tracker(self, chain: str, **settings: Any) -> Tracker:
        """The tracker requested. settings: keyword arguments of `thinkseg.models.load_tracker`."""
        from thinkseg import models

        if self.tracker != "flow":
            _hide_bars(self.tracker, self._policy_name(chain))
        return models.load_tracker(self.tracker, **settings)

    def _policy_name(self, chain: str) -> str:
        from thinkseg.models import bundled_policy_for

        return self.policy or bundled_policy_for(chain)


def load_policy(name: str, progress: Progress, **settings: Any) -> Policy:
    """A policy by name. On a terminal, a bar shows downloads, and none shows loading from disk."""
    from thinkseg import models

    progress.show(f"loading {name}")
    _hide_bars(name)
    return models.load_policy(name, **settings)


def load_tracker(name: str, progress: Progress, **settings: Any) -> Tracker:
    """A tracker by name, as `load_policy`."""
    from thinkseg import models

    progress.show(f"loading {name}")
    _hide_bars(name)
    return models.load_tracker(name, **settings)


def _hide_bars(*names: str) -> None:
    """Hides the bars of the libraries that load models, unless one of these may be downloaded to a terminal's user."""
    from thinkseg import models

    if not sys.stderr.isatty() or all(name in models.BUNDLED or os.path.isdir(name) for name in names):
        # Read once, when the hub's library is first imported, which loading a model does.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def benchmark_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., int],
    summary: str = "{title}",
    preferred: str | None = None,
    whole: bool = False,
    **given: Any,
) -> None:
    """Registers a function for one benchmark, whose options are the function's parameter `dataset`.

    summary, and the docstring of the function: {title} is that of the benchmark. preferred, whole: see
    `dataset_options`.
    """
    title = BENCHMARKS[name].title
    register = command(
        app, summary.format(title=title), name, title, dataset=dataset_options(name, preferred, whole), **given
    )
    register(function)
