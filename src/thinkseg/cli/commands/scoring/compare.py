"""`thinkseg compare A B`: the difference of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import argument, command, option, path

app = typer.Typer()


@command(app, "report the difference of two runs")
def compare(
    first: Annotated[Path, argument(path, "A", "folder written by evaluate or score")],
    second: Annotated[Path, argument(path, "B", "another such folder")],
    top: Annotated[int, option(parsers.non_negative_int, "N", "number of samples to list")] = 10,
    corrected: options.Corrected = False,
) -> int:
    """Compares two folders of results on the same samples.

    Prints differences with 95 % confidence intervals over videos, and the samples whose scores differ most.
    """
    from thinkseg.evaluation.comparison import compare, format_comparison

    print(format_comparison(compare(first, second, corrected), top))
    return 0
