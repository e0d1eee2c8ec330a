"""`thinkseg submit NAME`: predicted masks in, the file that a benchmark's server takes out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "submit",
        help="pack masks for a benchmark's server",
        description="Checks that there are masks for everything a server asks for, and packs them as it expects.",
    )
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    for name in (name for name, source in BENCHMARKS.items() if source.zip_folder is not None):
        parser = options.add_benchmark(sets, name, submit, "Packs masks for the server of {title}.")
        options.add_predictions(parser)
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the zip to write")
        parser.set_defaults(keep_going=False)


def submit(arguments: argparse.Namespace) -> int:
    """Packs predictions."""
    from thinkseg.evaluation.submission import write_submission

    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
        progress.say("packing")
        unusable = write_submission(opened, arguments.predictions, arguments.out, progress)
    if unusable:
        print(f"empty masks where the reply could not be used: {unusable} of {len(opened.expressions)} expressions")
    print(f"wrote {arguments.out}")
    return 0
