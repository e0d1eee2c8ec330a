"""Data sets in, `VideoSample`s out: the public benchmarks, your own folder, and the synthetic world (`data.shapes`).

    from thinkseg.data import open_benchmark

    benchmark = open_benchmark("revos", Path("datasets/ReVOS"))
    sample = benchmark.sample(benchmark.expressions[0])

How their trees look is told in docs/benchmarks.md. Importing this loads no loader yet, so that a command line can name
them all at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from thinkseg.errors import DatasetError

if TYPE_CHECKING:
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.data.readers.issues import DatasetIssues

__all__ = ["BENCHMARKS", "Source", "open_benchmark"]


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark that can be opened.

    title: its name in print. splits: the first is the one most papers report.
    load: where its loader is, "module.function" in this package: (root, split, problems) -> Benchmark.
    zip_folder: where in a zip its server looks for the folders of videos; None if it has no server.
    """

    title: str
    splits: tuple[str, ...]
    load: str
    zip_folder: str | None = None


BENCHMARKS: dict[str, Source] = {
    "revos": Source("ReVOS", ("valid", "train", "train_sub"), "revos.load"),
    "reasonvos": Source("ReasonVOS", ("test",), "reasonvos.load"),
    "mevis": Source("MeViS", ("valid_u", "valid", "test", "train"), "mevis.load", ""),
    "mevis-v2": Source("MeViS version 2", ("valid_u", "valid", "test", "train"), "mevis.load_v2", ""),
    "vicas": Source("ViCaS (LG-VIS)", ("val", "test", "train", "v0.1-val", "v0.1-test", "v0.1-train"), "vicas.load"),
    "refytvos": Source("Ref-YouTube-VOS", ("valid", "train", "test"), "refytvos.load", "Annotations/"),
    "refdavis": Source("Ref-DAVIS17", ("valid", "train"), "refdavis.load"),
    "folder": Source("your own videos", ("all",), "folder.load"),
}
"""Every benchmark by the name that commands take."""


def open_benchmark(
    name: str, root: str | Path, split: str | None = None, issues: DatasetIssues | None = None
) -> Benchmark:
    """The videos and expressions of one split; frames and masks are read as samples are used.

    name: one of `BENCHMARKS`. root: the folder that its files are in. split: default is the first of its splits.
    problems: `DatasetIssues(keep_going=True)` counts issues and skips what has one;
        without it the first issue is raised.

    Raises DatasetError if the name or split is unknown, or the files are not as documented.
    """
    from thinkseg.data.readers.issues import DatasetIssues

    if name not in BENCHMARKS:
        raise DatasetError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    source = BENCHMARKS[name]
    split = source.splits[0] if split is None else split
    if split not in source.splits:
        raise DatasetError(f"{source.title} has no split {split!r}; there are {', '.join(source.splits)}")
    module, _, function = source.load.partition(".")
    load = getattr(import_module(f"thinkseg.data.benchmarks.{module}"), function)
    return load(Path(root), split, issues or DatasetIssues())
