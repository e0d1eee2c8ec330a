"""`thinkseg demo`: the whole way on a handful of clips, as a page to look at."""

from __future__ import annotations

import argparse
from typing import Any

from thinkseg.cli import options
from thinkseg.console import Progress


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "demo",
        help="answer questions about a few clips and write a page",
        description="Renders clips of the shapes world as video files, answers a question about each, follows the "
        "answers, scores them, and writes index.html, which opens from disk.",
    )
    options.add_models(parser)
    options.add_chain(parser)
    options.add_out(parser, default="runs/demo")
    parser.set_defaults(run=demo)


def demo(arguments: argparse.Namespace) -> int:
    """Runs the demonstration and prints its table."""
    from thinkseg.chains import get_chain
    from thinkseg.report.demo import run, table
    from thinkseg.storage.atomic import check_out

    check_out(arguments.out)
    get_chain(arguments.chain)
    tracker = options.load_tracker(arguments)
    with Progress() as progress:
        policy = options.load_policy(arguments, progress)
        progress.say("answering")
        rows = run(arguments.out, policy, tracker, progress, arguments.chain)
    print(table(rows))
    print(f"open {arguments.out / 'index.html'}")
    return 0
