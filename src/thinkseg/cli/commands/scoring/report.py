"""`thinkseg report RUN...`: a page about one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import argument, command, option, path
from thinkseg.console import Progress, say

app = typer.Typer()


@command(app, "write a page about runs")
def report(
    runs: Annotated[
        list[Path], argument(path, "RUN...", "folders that evaluate, score, segment, train or annotate wrote")
    ],
    out: options.Out,
    root: Annotated[
        Path | None,
        option(path, "DIR", "folder of the data set of evaluations, or video of a result that was moved, for pictures"),
    ] = None,
    pictures: Annotated[
        int,
        option(parsers.non_negative_int, "N", "questions with pictures: the worst, or those that change most"),
    ] = 50,
) -> int:
    """Writes DIR/index.html, which opens from disk: scores, charts and every question of an evaluation; several of
    them side by side; curves and rollouts of training runs; a chain-of-thought set; or results of segment.
    """
    from thinkseg.report.pages.write import kind_of_all, write_report

    if kind_of_all(runs) == "cot_set":
        return _review(runs, out)
    with Progress() as progress:
        progress.show("drawing answers")
        written = write_report(runs, out, root, pictures, progress)
    answers = "answer" if written.num_drawn == 1 else "answers"
    drawn = f"{written.num_drawn} {answers} with pictures, " if written.num_drawn else ""
    say(f"wrote {written.page} ({drawn}{written.num_bytes / 1e6:.1f} MB)")
    return 0


def _review(runs: list[Path], out: Path) -> int:
    """Writes the page of a chain-of-thought set, which has a page of its own."""
    from thinkseg.annotation.review import write_review
    from thinkseg.errors import SettingsError
    from thinkseg.report.pages.write import COMMAND, PAGE
    from thinkseg.storage.result_folder import result_folder

    if len(runs) > 1:
        raise SettingsError(f"{runs[1]}: chain-of-thought sets have a page each; give one of them")
    with result_folder(out, COMMAND, runs[0]) as folder:
        write_review(runs[0], folder / PAGE)
    say(f"wrote {out / PAGE}")
    return 0
