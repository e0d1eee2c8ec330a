"""`thinkseg annotate ...`: a data set and an annotator in, a verified chain-of-thought set out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS
from thinkseg.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from thinkseg.annotation.annotators import Annotator
    from thinkseg.annotation.build import AnnotationResult
    from thinkseg.annotation.candidates import AnnotationSource, Candidate
    from thinkseg.annotation.costs import CostTracker
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.types import View

DESCRIPTION = (
    "Draws questions of {title}, has an annotator explain how one comes to their true answers, checks what it writes, "
    "and keeps what stands as a set for `thinkseg train sft` and `thinkseg export`. Started again with the same "
    "settings and folder, it goes on where it was, and asks nothing twice."
)
TRAINING = "train"
"""The split that is annotated where there is one of this name: what comes out is trained on."""


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "annotate",
        help="build a set of reasoning to train on",
        description="Builds a chain-of-thought set from questions whose answers are known.",
    )
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    parser = sets.add_parser(
        "shapes", help="the synthetic world that comes along", description=DESCRIPTION.format(title="the shapes world")
    )
    parser.add_argument("--split", default=TRAINING, metavar="NAME", help="train, val or zeroshot (default: train)")
    parser.add_argument(
        "--start", type=options.whole, default=0, metavar="I", help="index of the first clip (default: 0)"
    )
    parser.add_argument("--pool", type=options.count, metavar="N", help="clips to draw from (default: twice --count)")
    parser.add_argument("--coordinates", choices=options.COORDINATES, default="pixels", help="how rules tell boxes")
    _add_drawing(parser, frames=4, size=(112, 112))
    _add_annotator(parser, "rules")
    parser.set_defaults(run=shapes)
    for name in BENCHMARKS:
        _add_benchmark(sets, name)


def _add_benchmark(sets: Any, name: str) -> None:
    parser = options.add_benchmark(sets, name, benchmark, DESCRIPTION, preferred=TRAINING)
    parser.add_argument(
        "--fps", type=options.rate, metavar="F", help="frames a second of folders of frames (default: frames numbered)"
    )
    _add_drawing(parser, frames=16, size=(560, 560))
    _add_annotator(parser, None)
    # A served model writes no boxes, so how it would write them does not matter.
    parser.set_defaults(coordinates="pixels")
    options.add_keep_going(parser)


def _add_drawing(parser: argparse.ArgumentParser, frames: int, size: tuple[int, int]) -> None:
    """Which questions, and how their videos are shown."""
    parser.add_argument("--count", type=options.count, default=500, metavar="N", help="questions (default: 500)")
    parser.add_argument(
        "--balance",
        choices=("proportional", "balanced"),
        default="proportional",
        help="whether kinds of questions come as often as in the data (default) or equally often",
    )
    parser.add_argument("--no-target", action="store_true", help="draw questions without a target, too")
    parser.add_argument("--seed", type=options.whole, default=0, metavar="S", help="of what is drawn (default: 0)")
    parser.add_argument(
        "--frames", type=options.count, default=frames, metavar="N", help=f"frames a sample shows (default: {frames})"
    )
    parser.add_argument(
        "--frame-size",
        type=options.size,
        default=size,
        metavar="WxH",
        help=f"size they are kept and shown at (default: {size[0]}x{size[1]})",
    )
    parser.add_argument("--review", action="store_true", help="write review.html, a page with samples to look at")
    options.add_out(parser)


def _add_annotator(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Who explains, how it is asked, and what that may cost."""
    parser.add_argument(
        "--annotator",
        default=default,
        required=default is None,
        metavar="NAME",
        help="openai:MODEL@BASE_URL" + (", or rules (default), which needs no model" if default else ""),
    )
    parser.add_argument(
        "--temperature", type=options.temperature, default=0.0, metavar="T", help="0 (default) is greedy"
    )
    parser.add_argument(
        "--max-tokens", type=options.count, default=1024, metavar="N", help="longest reply, in tokens (default: 1024)"
    )
    parser.add_argument(
        "--jpeg-quality", type=options.count, default=90, metavar="Q", help="of frames that are sent (default: 90)"
    )
    parser.add_argument(
        "--concurrency", type=options.count, default=16, metavar="N", help="asked at once (default: 16)"
    )
    parser.add_argument("--timeout", type=options.rate, default=600.0, metavar="S", help="seconds a try (default: 600)")
    parser.add_argument(
        "--max-tokens-total",
        type=options.count,
        metavar="N",
        help="most tokens, read and written, of all runs together",
    )
    parser.add_argument("--max-cost", type=options.temperature, metavar="C", help="most money, of all runs together")
    for way in ("in", "out"):
        parser.add_argument(
            f"--price-{way}", type=options.temperature, default=0.0, metavar="C", help=f"of a million tokens {way}"
        )


def shapes(arguments: argparse.Namespace) -> int:
    """Annotates questions about the shapes world."""
    from thinkseg.annotation.candidates import ShapesSource
    from thinkseg.data.shapes import episode

    pool = arguments.pool or 2 * arguments.count
    episode(arguments.split, arguments.start)

    def source(progress: Progress) -> AnnotationSource:
        progress.say("drawing clips")
        return ShapesSource(arguments.split, arguments.start, pool, progress)

    return _annotate(arguments, "the shapes world", source, None)


def benchmark(arguments: argparse.Namespace) -> int:
    """Annotates expressions of a benchmark."""
    from thinkseg.annotation.candidates import BenchmarkSource

    if not arguments.annotator.startswith("openai:"):
        raise SettingsError(
            f"--annotator {arguments.annotator}: only shapes can be explained by rules: give openai:MODEL@BASE_URL"
        )
    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
    source = BenchmarkSource(opened, arguments.fps)
    status = _annotate(arguments, BENCHMARKS[arguments.name].title, lambda _: source, opened.issues)
    options.tell_problems(opened)
    return status


def _annotate(
    arguments: argparse.Namespace,
    title: str,
    open_source: Callable[[Progress], AnnotationSource],
    issues: DatasetIssues | None,
) -> int:
    from thinkseg.annotation.build import AnnotationSettings, annotate
    from thinkseg.annotation.costs import CostBudget, CostTracker
    from thinkseg.annotation.review import write_review
    from thinkseg.annotation.sampling import draw, strata_table
    from thinkseg.storage.atomic import check_writable
    from thinkseg.types import View

    check_writable(arguments.out)
    view = View(arguments.frames, arguments.frame_size, arguments.coordinates)
    budget = CostBudget(arguments.max_tokens_total, arguments.max_cost, arguments.price_in, arguments.price_out)
    with Progress() as progress:
        progress.say(f"connecting to {arguments.annotator}")
        annotator, settings = _annotator(arguments, view)
        source = open_source(progress)
        drawn = draw(source.candidates, arguments.count, arguments.balance, arguments.seed, arguments.no_target)
        if not drawn:
            raise SettingsError(f"{title}: no question to draw: choose another split, or take those with --no-target")
        print(strata_table({"there are": source.candidates, "drawn": drawn}), flush=True)
        costs = CostTracker(budget, annotator.max_reply_tokens)
        annotation = AnnotationSettings(view, arguments.seed, settings)
        meter = _Meter(progress, len(drawn), costs)
        made = annotate(source, drawn, annotator, annotation, costs, arguments.out, issues=issues, on_answer=meter)
        if arguments.review:
            progress.say("writing the page")
            write_review(made.verifications, arguments.out, f"Reasoning on {title}, by {annotator.name}")
    print(_told(made, drawn, costs))
    print(f"wrote {arguments.out}")
    return _status(made, len(drawn) - made.num_unreadable)


def _annotator(arguments: argparse.Namespace, view: View) -> tuple[Annotator, dict[str, Any]]:
    """The annotator asked for, and the settings that decide what it says."""
    from thinkseg.annotation.annotators import RULES, connect

    drawing = {"balance": arguments.balance, "no_target": arguments.no_target}
    if arguments.annotator == RULES:
        return connect(RULES, view, arguments.seed), drawing
    sampling = {
        "temperature": arguments.temperature,
        "max_new_tokens": arguments.max_tokens,
        "jpeg_quality": arguments.jpeg_quality,
    }
    settings = {"concurrency": arguments.concurrency, "timeout": arguments.timeout}
    return connect(arguments.annotator, view, arguments.seed, **sampling, **settings), {**drawing, **sampling}


def _told(made: AnnotationResult, drawn: list[Candidate], costs: CostTracker) -> str:
    """What came of it: strata before and after, why answers were rejected, what was spent."""
    from thinkseg import console
    from thinkseg.annotation.answers import count_reasons
    from thinkseg.annotation.sampling import strata_table
    from thinkseg.annotation.verify import REASONS

    kept = [one.candidate for one in made.verifications if one.sample]
    parts = ["", strata_table({"drawn": drawn, "kept": kept})]
    if found := count_reasons(made.verifications):
        lines = [(reason, str(count), REASONS[reason]) for reason, count in found.items()]
        parts += ["", console.table(("rejected for", "times", "which means that"), lines, numbers={1})]
    if costs.prompt_tokens:
        cost = f", cost {costs.cost:,.2f}" if costs.cost else ""
        parts += ["", f"tokens: {costs.prompt_tokens:,} read, {costs.completion_tokens:,} written{cost}"]
    return "\n".join(parts)


def _status(made: AnnotationResult, total: int) -> int:
    """Returns 0, also where the budget is used up. Raises ModelError if requests failed.

    total: questions drawn whose files can be read.
    """
    if made.failures:
        left = len(made.failures) + made.num_unasked
        raise ModelError(f"{left} of {total} questions have no answer ({made.failures[0]}): start again to ask them")
    if made.num_unasked:
        print(f"the budget is used up: {made.num_unasked} of {total} questions were not asked")
    return 0


class _Meter:
    """How far it is, as a line: questions done, what was spent, and how long the rest will take."""

    def __init__(self, progress: Progress, total: int, costs: CostTracker) -> None:
        self._progress = progress
        self._total = total
        self._costs = costs
        self._started = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int) -> None:
        from thinkseg.console import duration

        if self._first is None:
            self._first = done - 1
        words = [f"annotating {done}/{self._total}"]
        if self._costs.prompt_tokens:
            words.append(f"{self._costs.prompt_tokens + self._costs.completion_tokens:,} tokens")
        if self._costs.cost:
            words.append(f"cost {self._costs.cost:,.2f}")
        passed = time.monotonic() - self._started
        words.append(f"{duration(passed * (self._total - done) / (done - self._first))} left")
        self._progress.say(", ".join(words))
