"""The data sets of commands: which one, which part of it, and one command for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from thinkseg.cli.declare import command, option, path, suggested
from thinkseg.cli.options import ShapesStart
from thinkseg.cli.parsers import count
from thinkseg.data import BENCHMARKS

if TYPE_CHECKING:
    from thinkseg.console import Progress
    from thinkseg.data.benchmarks.base import Benchmark


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


def print_issues(benchmark: Benchmark) -> int:
    """Prints to standard error what was skipped. Returns the exit status: 1 if workers died and a video has no row."""
    for kind, number in benchmark.issues.counts.most_common():
        for example in benchmark.issues.examples[kind]:
            print(f"thinkseg: {kind} ({number}): {' '.join(example.split())}", file=sys.stderr)
    return int(benchmark.issues.counts["worker_lost"] > 0)


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
