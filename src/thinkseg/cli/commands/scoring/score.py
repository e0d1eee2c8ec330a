"""`thinkseg score ...` and `thinkseg submit ...`: predicted masks scored, or packed for a benchmark's server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from thinkseg.cli import dataset_options, options, parsers
from thinkseg.cli.declare import new_group, option
from thinkseg.console import Progress, say
from thinkseg.data import BENCHMARKS
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.storage.run_folder import Row

app = new_group(
    "score",
    "score predicted masks",
    "Scores predicted masks: images in the layout of a benchmark, or the folder of an evaluation.",
    "DATASET",
)
submission = new_group(
    "submit",
    "pack masks for a benchmark's server",
    "Checks that masks for the server of a benchmark are complete, and packs them.",
    "DATASET",
)


def score(
    dataset: dataset_options.DatasetOptions,
    predictions: options.Predictions,
    csv: Annotated[Path | None, option(parsers.output, "FILE", "write one line per expression")] = None,
    out: Annotated[
        Path | None, option(parsers.output, "DIR", "write scores.json and results.jsonl, which thinkseg compare reads")
    ] = None,
    corrected: options.Corrected = False,
    workers: options.Workers = options.CORES,
    keep_going: options.KeepGoing = False,
) -> int:
    """Scores masks predicted for {title}. Where they are expected is described in docs/benchmarks.md."""
    from thinkseg.console import Meter
    from thinkseg.evaluation.aggregation import expression_rows
    from thinkseg.evaluation.offline import describe_unusual, score, write_csv
    from thinkseg.evaluation.predictions import MISSING, open_predictions
    from thinkseg.evaluation.scores import aggregate, format_scores
    from thinkseg.storage.outputs import check_file
    from thinkseg.storage.result_folder import result_folder

    masks = open_predictions(predictions, dataset.name)
    tables = [csv] if csv else []
    for table in tables:
        check_file(table)
    with Progress() as progress, result_folder(out, "score", *tables) if out else nullcontext() as folder:
        opened = dataset.open(progress, keep_going)
        meter = Meter(progress, len(opened.expressions), "scoring")
        rows = score(opened, masks, workers, meter)
        if rows and all(row["failure"] == MISSING for row in expression_rows(rows)):
            expected = predictions / opened.expressions[0].folders[0]
            raise SettingsError(f"{predictions}: no masks for any expression; check that there is a folder {expected}")
        scores = aggregate(opened, rows, corrected)
        for table in tables:
            write_csv(rows, table)
        if folder:
            settings = {**opened.run_settings(), "predictions": str(predictions)}
            _write(folder, settings, rows, scores)
    print("\n".join([format_scores(scores), *describe_unusual(rows)]))
    dataset_options.print_issues(opened)
    return 0


def _write(folder: Path, settings: dict[str, str], rows: Sequence[Row], scores: dict[str, Any]) -> None:
    """Writes the files of the results."""
    from thinkseg import __version__
    from thinkseg.storage.atomic import replace_json
    from thinkseg.storage.run_folder import ROWS, SCORES, SETTINGS

    replace_json({**settings, "version": __version__}, folder / SETTINGS)
    (folder / ROWS).write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    replace_json(scores, folder / SCORES)


def submit(
    dataset: dataset_options.DatasetOptions,
    predictions: options.Predictions,
    out: Annotated[Path, option(parsers.output, "FILE", "the zip file to write")],
) -> int:
    """Checks that there are masks for everything that the server of {title} requires, and packs them."""
    from thinkseg.evaluation.submission import write_submission
    from thinkseg.storage.outputs import check_file

    check_file(out)
    with Progress() as progress:
        opened = dataset.open(progress)
        progress.show("packing")
        unusable = write_submission(opened, predictions, out, progress)
    if unusable:
        print(f"empty masks where the reply could not be used: {unusable} of {len(opened.expressions)} expressions")
    say(f"wrote {out}")
    return 0


for name, benchmark in BENCHMARKS.items():
    dataset_options.benchmark_command(app, name, score, **dataset_options.corrected_for(name))
    if benchmark.zip_folder is not None:
        dataset_options.benchmark_command(submission, name, submit, whole=True)
