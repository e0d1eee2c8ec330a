"""`thinkseg ablate ...`: variants in, one table out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thinkseg.commands import options


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "ablate",
        help="train and score variants of a method",
        description="Trains every variant that a file lists, scores it on the shapes world, and writes one table like "
        "the papers'. Started again with the same file and folder, it goes on where it was.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="e.g. recipes/ablations/shapes-rewards.yaml")
    options.add_out(parser)
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="where trainings are kept (default: runs in the output folder); tables that begin alike can share it",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Trains, scores and prints the table."""
    from thinkseg.ablation import ablate
    from thinkseg.outputs import check_writable

    for folder in filter(None, (arguments.out, arguments.runs)):
        check_writable(folder)
    print(ablate(arguments.file, arguments.out, arguments.runs, say=print))
    print(f"wrote {arguments.out / 'table.txt'}")
    return 0
