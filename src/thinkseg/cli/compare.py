"""`thinkseg compare A B`: two runs in, what is better in the second out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thinkseg.cli import options


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "compare",
        help="how two runs differ",
        description="Compares two folders of results about the same questions: differences with intervals over videos, "
        "and the questions whose answers changed most.",
    )
    parser.add_argument("first", type=Path, metavar="A", help="folder written by evaluate or score")
    parser.add_argument("second", type=Path, metavar="B", help="another")
    parser.add_argument("--most", type=options.whole, default=10, metavar="N", help="questions listed (default: 10)")
    options.add_fixed(parser, "vicas")
    parser.set_defaults(run=compare)


def compare(arguments: argparse.Namespace) -> int:
    """Prints the comparison."""
    from thinkseg.evaluation.comparison import compare, describe

    print(describe(compare(arguments.first, arguments.second, arguments.fixed), arguments.most))
    return 0
