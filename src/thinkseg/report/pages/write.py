"""Writes the report of runs: finds out what their folders are, and writes the page for that.

report/index.html       the page, with its styles, scripts and numbers
report/pictures/        images of answers, loaded when they are seen
report/rollouts/        pages of rollouts of training runs
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thinkseg.errors import SettingsError
from thinkseg.report.pages.comparison import write_comparison
from thinkseg.report.pages.evaluation import PAGE, write_evaluation
from thinkseg.report.pages.results import write_results
from thinkseg.report.pages.runs import read_run
from thinkseg.report.pages.training import write_training
from thinkseg.report.result_files import ANSWER
from thinkseg.storage.result_folder import finish_interrupted, result_folder
from thinkseg.storage.run_folder import LOG, ROWS, SETTINGS
from thinkseg.types import ProgressCallback

COMMAND = "report"

Kind = Literal["evaluation", "training", "cot_set", "results"]


@dataclass(frozen=True, slots=True)
class Written:
    """A report. num_drawn: answers with pictures. num_bytes: of all its files."""

    page: Path
    num_drawn: int
    num_bytes: int


def kind_of(run: Path) -> Kind:
    """Returns what a folder holds. Raises SettingsError if it is no folder, or of none of these kinds."""
    if not os.path.isdir(run):
        raise SettingsError(f"{run}: no such folder; give one that evaluate, score, segment, train or annotate wrote")
    finish_interrupted(run)
    if (run / ANSWER).is_file() or ((run / "index.csv").is_file() and (run / ROWS).is_file()):
        return "results"
    if (run / "samples.jsonl").is_file():
        return "cot_set"
    if (run / LOG).is_file():
        return "training"
    if (run / SETTINGS).is_file():
        return "evaluation"
    raise SettingsError(f"{run}: holds no run; give a folder that evaluate, score, segment, train or annotate wrote")


def kind_of_all(runs: Sequence[Path]) -> Kind:
    """Returns the one kind of some folders. Raises SettingsError if they differ, or one is given twice."""
    kinds = [kind_of(run) for run in runs]
    if len(set(kinds)) > 1:
        other = next(number for number, kind in enumerate(kinds) if kind != kinds[0])
        raise SettingsError(
            f"{runs[0]} and {runs[other]}: runs of two kinds, {kinds[0]!r} and {kinds[other]!r}; report them apart"
        )
    if len({os.path.realpath(run) for run in runs}) < len(runs):
        raise SettingsError("a run is given twice; give each folder once")
    return kinds[0]


def write_report(
    runs: Sequence[Path],
    out: Path,
    root: Path | None,
    num_drawn: int,
    progress: ProgressCallback | None = None,
) -> Written:
    """Writes the page of one or several runs of one kind to the folder `out`; an earlier report there is replaced.

    root: folder of the data set of an evaluation, or the video of a single result. num_drawn: draw the answers to so
    many questions: the worst, or of several runs those that change most. progress: called with (done, total) answers.
    Raises SettingsError for folders that are no runs, differ in their kind or data, or are damaged.
    """
    kind = kind_of_all(runs)
    with result_folder(out, COMMAND, *runs) as folder:
        drawn = _write(kind, runs, folder, root, num_drawn, progress)
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Written(out / PAGE, drawn, num_bytes)


def _write(
    kind: Kind,
    runs: Sequence[Path],
    folder: Path,
    root: Path | None,
    num_drawn: int,
    progress: ProgressCallback | None,
) -> int:
    """Writes the page of a kind, and returns how many answers have pictures."""
    if kind == "results":
        return write_results(runs, folder, root, num_drawn, progress)
    if kind == "training":
        write_training(runs, folder)
        return 0
    read = [read_run(run) for run in runs]
    if len(read) == 1:
        return write_evaluation(read[0], folder, root, num_drawn, progress)
    return write_comparison(read, folder, root, num_drawn, progress)
