"""`thinkseg score NAME`: anybody's masks of a benchmark in, scores out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.storage.run_folder import Row


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "score",
        help="score masks that are there as files",
        description="Scores predicted masks, pictures in a benchmark's own layout or the folder of an evaluation.",
    )
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    for name in BENCHMARKS:
        description = "Scores masks predicted for {title}. Where they should lie is told in docs/benchmarks.md."
        parser = options.add_benchmark(sets, name, score, description)
        options.add_predictions(parser)
        parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each expression")
        parser.add_argument(
            "--out", type=Path, metavar="DIR", help="write scores.json and results.jsonl, which thinkseg compare takes"
        )
        options.add_fixed(parser, name)
        options.add_workers(parser)
        options.add_keep_going(parser)


def score(arguments: argparse.Namespace) -> int:
    """Scores predictions and prints the table."""
    from thinkseg.console import Meter
    from thinkseg.evaluation.aggregation import questions
    from thinkseg.evaluation.offline import score, write_csv
    from thinkseg.evaluation.predictions import MISSING, open_predictions
    from thinkseg.evaluation.scores import describe, tally
    from thinkseg.storage.atomic import check_out

    predictions = open_predictions(arguments.predictions, arguments.name)
    if arguments.out:
        check_out(arguments.out)
    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
        meter = Meter(progress, len(opened.expressions), "scoring")
        rows = score(opened, predictions, arguments.workers, meter)
    if rows and all(row["failure"] == MISSING for row in questions(rows)):
        place = arguments.predictions / opened.expressions[0].folders[0]
        raise SettingsError(f"{arguments.predictions} has masks for none of the expressions; is there no {place}?")
    scores = tally(opened, rows, arguments.fixed)
    if arguments.csv:
        write_csv(rows, arguments.csv)
    if arguments.out:
        _write(arguments, rows, scores)
    print(describe(scores))
    options.tell_problems(opened)
    return 0


def _write(arguments: argparse.Namespace, rows: Sequence[Row], scores: dict[str, Any]) -> None:
    """Writes the folder of results."""
    from thinkseg import __version__
    from thinkseg.storage.atomic import replace_json, result_folder
    from thinkseg.storage.run_folder import ROWS, SCORES, SETTINGS

    settings = {"data": arguments.name, "split": arguments.split, "version": __version__}
    with result_folder(arguments.out) as folder:
        replace_json({**settings, "predictions": str(arguments.predictions)}, folder / SETTINGS)
        (folder / ROWS).write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        replace_json(scores, folder / SCORES)
