"""`thinkseg validate NAME`: whether the truth of a benchmark gets full marks, as it must."""

from __future__ import annotations

import argparse
from typing import Any

from thinkseg.commands import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS
from thinkseg.errors import DatasetError

LISTED = 20
"""Expressions below full marks that are printed."""


def add_to(commands: Any) -> None:
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
    from thinkseg.commands.meter import Meter
    from thinkseg.scoring import TruthAsPictures, score

    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
        meter = Meter(progress, len(opened.expressions), "validating")
        rows = score(opened, TruthAsPictures(opened), arguments.workers, meter)
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
