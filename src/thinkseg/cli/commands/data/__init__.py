"""`thinkseg data ...` and `thinkseg validate ...`: data sets written as files, counted and checked; `select`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from thinkseg.cli import dataset_options, options, parsers
from thinkseg.cli.commands.data import select
from thinkseg.cli.declare import command, flag, new_group, option
from thinkseg.console import Progress, say
from thinkseg.data import BENCHMARKS, FILE_BENCHMARKS, check_not_empty, open_benchmark
from thinkseg.errors import DatasetError, one_line

if TYPE_CHECKING:
    from thinkseg.data.check import DatasetStats
    from thinkseg.data.readers.issues import DatasetIssues

app = new_group(
    "data",
    "write, check or select data",
    "Writes the shapes world as files, checks the files of a benchmark, or selects a part of it.",
    "DATASET",
)
validation = new_group(
    "validate",
    "score the ground truth against itself",
    "Scores the ground truth of a benchmark as predictions: all must be 100.",
    "DATASET",
)


@command(app, "write the shapes world, in the layout of ReVOS")
def shapes(
    out: options.Out,
    split: options.ShapesSplit = "val",
    start: options.ShapesStart = 0,
    count: Annotated[int, option(parsers.count, "N", "number of clips")] = 50,
    size: Annotated[parsers.Size, option(parsers.size, "WxH", "size of the frames", show_default="224x224")] = (
        224,
        224,
    ),
    questions: Annotated[int, option(parsers.count, "Q", "most questions per clip")] = 1,
) -> int:
    """Writes clips of the shapes world as mp4 files and as a tree in the layout of ReVOS."""
    from thinkseg.data.shapes.writer import write_dataset
    from thinkseg.storage.result_folder import result_folder

    with Progress() as progress, result_folder(out, "data shapes") as folder:
        progress.show("writing clips")
        indices = range(start, start + count)
        num_questions = write_dataset(folder, split, indices, size_wh=size, num_questions=questions, progress=progress)
    say(f"wrote {count} clips with {num_questions} questions to {out}")
    return 0


def check_dataset(
    dataset: dataset_options.FileDatasetOptions,
    keep_going: Annotated[bool, flag("--keep-going", "exit with status 0 despite issues")] = False,
) -> int:
    """Counts the contents of {title} and checks that they are complete: frames, masks, sizes, ids.

    The layout of its files is described in docs/benchmarks.md.
    """
    from thinkseg.data.check import check, count_dataset
    from thinkseg.data.readers.issues import DatasetIssues

    # All is checked, whatever the issues on the way.
    issues = DatasetIssues(keep_going=True)
    with Progress() as progress:
        progress.show("reading annotations")
        benchmark = open_benchmark(dataset.name, dataset.root, dataset.split, issues)
        progress.show("checking videos")
        check(benchmark, progress)
    print(f"{BENCHMARKS[dataset.name].title}, {dataset.split}")
    print("\n".join((*_count_lines(count_dataset(benchmark)), *_issue_lines(issues))))
    if issues.total and not keep_going:
        raise DatasetError(
            f"{dataset.root}: {issues.total} issues found; fix them, or pass --keep-going to ignore them"
        )
    check_not_empty(benchmark)
    return 0


def _count_lines(stats: DatasetStats) -> Iterator[str]:
    yield _line("videos", stats.videos)
    yield _line("frames", stats.frames)
    yield _line("  scored", stats.scored)
    yield _line("expressions", sum(stats.expressions.values()))
    for category, count in stats.expressions.items():
        yield _line(f"  {one_line(category) or 'without a category'}", count)
    yield "targets"
    for kind, count in stats.targets.items():
        yield _line(f"  {kind}", count)


def _issue_lines(issues: DatasetIssues) -> Iterator[str]:
    """One line per kind of issue, followed by its first examples."""
    yield _line("issues", issues.total)
    for kind, count in issues.counts.most_common():
        yield _line(f"  {kind}", count)
        for example in issues.examples[kind]:
            yield f"    {' '.join(example.split())}"


def _line(name: str, count: int) -> str:
    return f"{name:<24}{count:>8}"


def validate(
    dataset: dataset_options.DatasetOptions,
    workers: options.Workers = options.CORES,
    keep_going: options.KeepGoing = False,
) -> int:
    """Writes the ground truth of {title} as mask images, as a method would, and scores them: all must be 100."""
    from thinkseg.console import Meter
    from thinkseg.evaluation.validation import validate

    with Progress() as progress:
        benchmark = dataset.open(progress, keep_going)
        result = validate(benchmark, workers, Meter(progress, len(benchmark.expressions), "validating"))
    print(result.describe())
    dataset_options.print_issues(benchmark)
    if result.imperfect:
        raise DatasetError(f"{dataset.name}: the ground truth does not score 100 everywhere; check the files listed")
    return 0


for name in FILE_BENCHMARKS:
    dataset_options.benchmark_command(app, name, check_dataset, "check {title}", whole=True)
for name in BENCHMARKS:
    dataset_options.benchmark_command(validation, name, validate, whole=True)
app.add_typer(select.app)
