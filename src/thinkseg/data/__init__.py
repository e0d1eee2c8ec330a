"""Data sets: the synthetic world (`data.shapes`), the public benchmarks, and your own folder.

    from thinkseg.data import open_benchmark

    benchmark = open_benchmark("revos", Path("datasets/ReVOS"))
    sample = benchmark.sample(benchmark.expressions[0])

docs/benchmarks.md documents their layouts. This module imports no loader, so that the command line starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import DatasetError

if TYPE_CHECKING:
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.data.readers.issues import DatasetIssues

__all__ = ["BENCHMARKS", "FILE_BENCHMARKS", "BenchmarkInfo", "open_benchmark"]


@dataclass(frozen=True, slots=True)
class BenchmarkInfo:
    """A known benchmark.

    title: its name for messages. splits: the first is the default, which most papers report.
    load: its loader, "module.function" in `data.benchmarks`: (root, split, issues) -> Benchmark.
    zip_folder: prefix of the videos' folders in a zip file for its server; None if it has no server.
    generated: it has no files, and is opened without a root.
    fps: frames per second of its folders of frames; None if no rate is right for all of its videos.
    """

    title: str
    splits: tuple[str, ...]
    load: str
    zip_folder: str | None = None
    generated: bool = False
    fps: float | None = None


BENCHMARKS: dict[str, BenchmarkInfo] = {
    "shapes": BenchmarkInfo("the synthetic shapes world", ("val", "train", "zeroshot"), "shapes.load", generated=True),
    "revos": BenchmarkInfo("ReVOS", ("valid", "train", "train_sub"), "revos.load"),
    "reasonvos": BenchmarkInfo("ReasonVOS", ("test",), "reasonvos.load"),
    "mevis": BenchmarkInfo("MeViS", ("valid_u", "valid", "test", "train"), "mevis.load", ""),
    "mevis-v2": BenchmarkInfo("MeViS version 2", ("valid_u", "valid", "test", "train"), "mevis.load_v2", ""),
    "vicas": BenchmarkInfo(
        "ViCaS (LG-VIS)", ("val", "test", "train", "v0.1-val", "v0.1-test", "v0.1-train"), "vicas.load", fps=30.0
    ),
    "refytvos": BenchmarkInfo("Ref-YouTube-VOS", ("valid", "train", "test"), "refytvos.load", "Annotations/", fps=6.0),
    "refdavis": BenchmarkInfo("Ref-DAVIS17", ("valid", "train"), "refdavis.load", fps=24.0),
    "lvvis": BenchmarkInfo("LV-VIS", ("val", "train"), "lvvis.load"),
    "folder": BenchmarkInfo("your own videos", ("all",), "folder.load"),
}
"""Benchmarks by the name that commands take."""

FILE_BENCHMARKS = {name: info for name, info in BENCHMARKS.items() if not info.generated}
"""Benchmarks that are opened with a root."""


def open_benchmark(
    name: str,
    root: str | Path | None = None,
    split: str | None = None,
    issues: DatasetIssues | None = None,
    fps: float | None = None,
    **options: Any,
) -> Benchmark:
    """Opens one split of a benchmark; frames and masks are read on access.

    name: one of `BENCHMARKS`. root: the folder of its files; not used by a generated one.
    split: (default: the first of its splits).
    issues: `DatasetIssues(keep_going=True)` counts issues and skips the affected parts (default: raise the first one).
    fps: frames per second of frames without times (default: the benchmark's, or that of a file beside the frames, see
        `thinkseg.data.readers.frame_rates`).
    options: of the loader, see `thinkseg.data.benchmarks.shapes.load`; the others have none.

    Raises DatasetError for an unknown name or split, or files that are not as documented; SettingsError if `fps` is
    invalid, or given although a video has times.
    """
    from thinkseg.data.readers.frame_rates import Rates
    from thinkseg.data.readers.issues import DatasetIssues

    if name not in BENCHMARKS:
        raise DatasetError(f"unknown benchmark {name!r}; must be one of {', '.join(BENCHMARKS)}")
    info = BENCHMARKS[name]
    split = info.splits[0] if split is None else split
    if split not in info.splits:
        raise DatasetError(f"{info.title}: unknown split {split!r}; must be one of {', '.join(info.splits)}")
    if root is None and not info.generated:
        raise DatasetError(f"{info.title}: needs the folder of its files; pass root")
    module, _, function = info.load.partition(".")
    load = getattr(import_module(f"thinkseg.data.benchmarks.{module}"), function)
    opened = load(None if root is None else Path(root), split, issues or DatasetIssues(), **options)
    return replace(opened, rates=Rates(fps, info.fps))


def check_not_empty(benchmark: Benchmark) -> None:
    """Raises DatasetError for a split without expressions, whose scores would be those of nothing."""
    if not benchmark.expressions:
        info = BENCHMARKS.get(benchmark.name)
        title = info.title if info else benchmark.name
        where = f"{benchmark.root}: {title}" if benchmark.root else title
        skipped = f" besides {benchmark.issues.total} with issues" if benchmark.issues.total else ""
        raise DatasetError(f"{where}, {benchmark.split}: no expressions{skipped}; choose another split or folder")
