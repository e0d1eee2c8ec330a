"""`thinkseg evaluate ...`: a data set and a policy in, scores out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS

if TYPE_CHECKING:
    from thinkseg.types import VideoSample


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser("evaluate", help="score a policy on a data set", description="Scores a policy.")
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    parser = sets.add_parser(
        "shapes",
        help="the synthetic world that comes along",
        description="Scores a policy on questions about the shapes world and writes settings.json, results.jsonl and "
        "scores.json. Started again with the same settings and folder, it goes on where it was.",
    )
    options.add_split(parser)
    parser.add_argument("--limit", type=options.count, default=300, metavar="N", help="samples (default: 300)")
    parser.add_argument("--batch-size", type=options.count, default=8, metavar="B", help="asked at once (default: 8)")
    options.add_models(parser)
    options.add_asking(parser)
    options.add_out(parser)
    parser.set_defaults(run=shapes)
    for name in BENCHMARKS:
        _add_benchmark(sets, name)


def _add_benchmark(sets: Any, name: str) -> None:
    parser = options.add_benchmark(
        sets,
        name,
        benchmark,
        "Answers every expression of {title}, scores the answers where the truth is known, and writes settings.json, "
        "results.jsonl, scores.json and the masks. Started again with the same settings and folder, it goes on where "
        "it was. What the files should look like is told in docs/benchmarks.md.",
    )
    parser.add_argument("--batch-size", type=options.count, default=8, metavar="B", help="asked at once (default: 8)")
    parser.add_argument(
        "--fps", type=options.rate, metavar="F", help="frames a second of folders of frames (default: frames numbered)"
    )
    parser.add_argument("--png", action="store_true", help="write masks as pictures too, in the official layout")
    options.add_fixed(parser, name)
    options.add_keep_going(parser)
    options.add_models(parser)
    options.add_asking(parser)
    options.add_out(parser)


def shapes(arguments: argparse.Namespace) -> int:
    """Scores a policy on the shapes world and prints the table."""
    from thinkseg.chains import get_chain
    from thinkseg.data.shapes import episode
    from thinkseg.evaluation.evaluate import evaluate, table
    from thinkseg.storage.atomic import check_writable

    check_writable(arguments.out)
    get_chain(arguments.chain)
    episode(arguments.split, arguments.start)
    tracker = options.load_tracker(arguments)
    with Progress() as progress:
        policy = options.load_policy(arguments, progress, **options.running(arguments))
        progress.say("evaluating")
        scores = evaluate(
            Shapes(arguments.split, arguments.start, arguments.limit),
            arguments.chain,
            policy,
            tracker,
            arguments.out,
            view=options.view_of(arguments, policy),
            batch_size=arguments.batch_size,
            settings={"data": "shapes", "split": arguments.split, **options.running(arguments)},
            progress=progress,
        )
    print(table(scores))
    print(f"wrote {arguments.out / 'scores.json'}")
    return 0


def benchmark(arguments: argparse.Namespace) -> int:
    """Answers and scores a benchmark, and prints the table."""
    from thinkseg.chains import get_chain
    from thinkseg.console import Meter
    from thinkseg.evaluation.evaluate import Method, evaluate_benchmark
    from thinkseg.evaluation.scores import describe
    from thinkseg.storage.atomic import check_writable

    check_writable(arguments.out)
    get_chain(arguments.chain)
    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
        tracker = options.load_tracker(arguments)
        policy = options.load_policy(arguments, progress, **options.running(arguments))
        progress.say("evaluating")
        view = options.view_of(arguments, policy)
        scores = evaluate_benchmark(
            opened,
            Method(arguments.chain, policy, tracker, view, arguments.batch_size),
            arguments.out,
            fps=arguments.fps,
            pictures=arguments.png,
            fixed=arguments.fixed,
            settings=options.running(arguments),
            on_row=Meter(progress, len(opened.expressions)),
        )
    print(describe(scores))
    options.tell_problems(opened)
    print(f"wrote {arguments.out / 'scores.json'}")
    return 0


@dataclass(frozen=True, slots=True)
class Shapes:
    """Samples `start`, `start` + 1, ... of a split, made one by one as they are needed."""

    split: str
    start: int
    limit: int

    def __len__(self) -> int:
        return self.limit

    def __iter__(self) -> Iterator[VideoSample]:
        from thinkseg.data.shapes import load

        return (load(self.split, index) for index in range(self.start, self.start + self.limit))
