"""`thinkseg data ...`: data sets as files, written or checked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS, open_benchmark
from thinkseg.errors import DatasetError

if TYPE_CHECKING:
    from thinkseg.data.check import DatasetStats
    from thinkseg.data.readers.issues import DatasetIssues


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "data",
        help="write or check a data set",
        description="Writes the synthetic world as files, or checks the files of a benchmark.",
    )
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    _add_shapes(sets)
    for name in BENCHMARKS:
        _add_benchmark(sets, name)


def _add_shapes(sets: Any) -> None:
    parser = sets.add_parser(
        "shapes",
        help="write the synthetic world, in the layout of ReVOS",
        description="Writes clips of the shapes world as mp4 files and as a tree in the layout of ReVOS.",
    )
    options.add_split(parser)
    parser.add_argument("--count", type=options.count, default=50, metavar="N", help="clips (default: 50)")
    parser.add_argument("--size", type=options.size, default=(224, 224), metavar="WxH", help="default: 224x224")
    parser.add_argument(
        "--questions", type=options.count, default=1, metavar="Q", help="questions a clip at most (default: 1)"
    )
    options.add_out(parser)
    parser.set_defaults(run=shapes)


def _add_benchmark(sets: Any, name: str) -> None:
    parser = options.add_benchmark(
        sets,
        name,
        benchmark,
        "Counts what there is of {title} and checks that it is whole: frames, masks, sizes, ids. What its files should "
        "look like is told in docs/benchmarks.md.",
        summary="check {title}",
    )
    parser.add_argument("--keep-going", action="store_true", help="the status is 0 even where something is wrong")


def shapes(arguments: argparse.Namespace) -> int:
    """Writes clips of the shapes world."""
    from thinkseg.data.shapes.writer import write_dataset
    from thinkseg.storage.atomic import check_out, result_folder

    check_out(arguments.out)
    with Progress() as progress, result_folder(arguments.out) as folder:
        progress.say("writing clips")
        num_questions = write_dataset(
            folder,
            arguments.split,
            range(arguments.start, arguments.start + arguments.count),
            size_wh=arguments.size,
            num_questions=arguments.questions,
            progress=progress,
        )
    print(f"wrote {arguments.count} clips with {num_questions} questions to {arguments.out}")
    return 0


def benchmark(arguments: argparse.Namespace) -> int:
    """Counts and checks what there is of a benchmark. Everything is looked at, whatever is wrong on the way."""
    from thinkseg.data.check import check, count_dataset
    from thinkseg.data.readers.issues import DatasetIssues

    issues = DatasetIssues(keep_going=True)
    with Progress() as progress:
        progress.say("reading the lists")
        opened = open_benchmark(arguments.name, arguments.root, arguments.split, issues)
        progress.say("checking videos")
        check(opened, progress)
    print(f"{BENCHMARKS[arguments.name].title}, {arguments.split}")
    print("\n".join((*_counts(count_dataset(opened)), *_flaws(issues))))
    if issues.total and not arguments.keep_going:
        raise DatasetError(
            f"{arguments.root} is not whole (problems: {issues.total}): mend it, or let it be with --keep-going"
        )
    return 0


def _counts(count_dataset: DatasetStats) -> Iterator[str]:
    """What there is, a line for each number."""
    yield _line("videos", count_dataset.videos)
    yield _line("frames", count_dataset.frames)
    yield _line("  scored", count_dataset.scored)
    yield _line("expressions", sum(count_dataset.expressions.values()))
    for category, count in count_dataset.expressions.items():
        yield _line(f"  {category or 'without a category'}", count)
    yield "targets"
    for kind, count in count_dataset.targets.items():
        yield _line(f"  {kind}", count)


def _flaws(issues: DatasetIssues) -> Iterator[str]:
    """What is wrong, a line for each kind and below it the first of its kind."""
    yield _line("problems", issues.total)
    for kind, count in issues.counts.most_common():
        yield _line(f"  {kind}", count)
        for example in issues.examples[kind]:
            yield f"    {' '.join(example.split())}"


def _line(name: str, count: int) -> str:
    return f"{name:<24}{count:>8}"


LISTED = 20
"""Expressions below full marks that are printed."""


def add_validate(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "validate",
        help="score the truth against itself",
        description="Writes the truth as pictures, as a method would, and scores them: everything must be 100.",
    )
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    for name in BENCHMARKS:
        parser = options.add_benchmark(sets, name, validate, "Scores the truth of {title}.")
        options.add_workers(parser)
        options.add_keep_going(parser)


def validate(arguments: argparse.Namespace) -> int:
    """Scores the truth, and prints what does not get full marks."""
    from thinkseg.console import Meter
    from thinkseg.evaluation.offline import score
    from thinkseg.evaluation.validation import TruthAsPng

    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
        meter = Meter(progress, len(opened.expressions), "validating")
        rows = score(opened, TruthAsPng(opened), arguments.workers, meter)
    known = [row for row in rows if row["j"] is not None]
    less = [row for row in known if (row["j"], row["f"]) != (1.0, 1.0)]
    for row in less[:LISTED]:
        print(f"{row['id']}: J {100 * row['j']:.2f}, F {100 * row['f']:.2f}: {row['query']}")
    print(f"J and F are 100 for {len(known) - len(less)} of {len(known)} expressions with a known truth")
    if len(known) < len(opened.expressions):
        broken = len(opened.expressions) - len(rows)
        print(f"without: {len(rows) - len(known)} whose truth is not told, {broken} that are broken")
    options.tell_problems(opened)
    if less:
        raise DatasetError(
            f"the truth of {arguments.root} does not score 100 everywhere: see thinkseg data {opened.name}"
        )
    return 0
