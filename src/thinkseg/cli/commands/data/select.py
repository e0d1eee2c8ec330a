"""`thinkseg data select ...`: a part of a benchmark, drawn at random and tested with a tracker, as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from thinkseg.cli import dataset_options, model_options, options, parsers
from thinkseg.cli.commands.annotate import TRAINING, Balance
from thinkseg.cli.declare import new_group, option, suggested
from thinkseg.cli.worker_options import WorkerOptions, open_workers
from thinkseg.console import Progress, TimeLeft, say
from thinkseg.data import FILE_BENCHMARKS
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.data.readers.issues import Issue
    from thinkseg.scale.workers import Worker
    from thinkseg.selection.strata import Candidate
    from thinkseg.selection.trackable import TargetTracker
    from thinkseg.storage.run_folder import Row

app = new_group(
    "select",
    "select a part of a benchmark",
    "Draws a part of a benchmark, and writes its expressions to a file for --select and for recipes.",
    "DATASET",
)


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Which questions are drawn."""

    count: Annotated[
        int | None, option(parsers.count, "N", "number of questions (default: all that have a target)")
    ] = None
    balance: Balance = "proportional"
    no_target_share: Annotated[float, option(parsers.share, "P", "share of questions without a target, e.g. 0.1")] = 0.0
    seed: Annotated[int, option(parsers.non_negative_int, "S", "of the draw")] = 0


@dataclass(frozen=True, kw_only=True)
class TrackableOptions(model_options.PlacementOptions):
    """Which of them are kept."""

    trackable: Annotated[
        float | None,
        option(parsers.share, "IOU", "drop those whose true boxes the tracker turns into masks of a lower mean IoU"),
    ] = None
    tracker: Annotated[str, suggested(("flow",), "NAME", "for --trackable: flow, or a SAM 2 by folder or hub name")] = (
        "flow"
    )

    def load(self, benchmark: Benchmark, progress: Progress) -> TargetTracker:
        """Loads the tracker. Runs in each worker."""
        from thinkseg.selection.trackable import TargetTracker

        return TargetTracker(benchmark, model_options.load_tracker(self.tracker, progress, **self.placement()))


def benchmark(
    dataset: dataset_options.DatasetOptions,
    drawing: DrawOptions,
    keeping: TrackableOptions,
    spreading: WorkerOptions,
    out: Annotated[Path, option(parsers.output, "FILE", "the file to write, e.g. select.json")],
    keep_going: options.KeepGoing = False,
) -> int:
    """Draws expressions of {title} by type and number of targets, spread over videos, and writes their ids to a file.

    annotate, export, evaluate and score take the file as --select, and recipes of GRPO as `select`. With --trackable,
    results of the tracker are kept in a folder beside the file, FILE.tracked: rerun, the command resumes.
    """
    from thinkseg.models import check_tracker
    from thinkseg.selection.draw import draw_share
    from thinkseg.selection.files import write_selection
    from thinkseg.selection.strata import candidates_of, strata_table, stratum_sizes
    from thinkseg.storage.outputs import check_file

    check_file(out)
    placement = spreading.placement(keeping.device)
    if keeping.trackable is not None:
        check_tracker(keeping.tracker)
    elif placement:
        raise SettingsError("--workers, --ray: a draw needs no workers; drop them, or give --trackable")
    with Progress() as progress:
        opened = dataset.open(progress, keep_going)
        available = candidates_of(opened)
        drawn = draw_share(available, drawing.count, drawing.balance, drawing.seed, drawing.no_target_share)
        columns = {"available": available, "drawn": drawn}
        tracked = None
        if keeping.trackable is not None:
            make = partial(keeping.load, opened, progress)
            videos = {one.id: one.video for one in drawn}
            with open_workers(make, placement, progress, videos.__getitem__) as worker:
                columns["trackable"] = _trackable(opened, drawn, worker, keeping.trackable, out, progress)
                tracked = _described(worker.settings, keeping.trackable)
        chosen = list(columns.values())[-1]
        how = {
            "seed": drawing.seed,
            "balance": drawing.balance,
            "no_target_share": drawing.no_target_share,
            "strata": {name: stratum_sizes(column) for name, column in columns.items()},
            "trackable": tracked,
        }
        progress.show("writing the selection")
        write_selection(opened, [one.id for one in chosen], how, out)
    print(strata_table(columns))
    print(_summary(chosen, drawing.seed))
    say(f"wrote {out}")
    return dataset_options.print_issues(opened)


for name in FILE_BENCHMARKS:
    dataset_options.benchmark_command(app, name, benchmark, preferred=TRAINING, whole=True)


def _trackable(
    opened: Benchmark,
    drawn: Sequence[Candidate],
    worker: Worker[str, Row | Issue],
    least: float,
    out: Path,
    progress: Progress,
) -> list[Candidate]:
    """The questions whose masks reach the mean IoU, and those without a target."""
    from thinkseg.selection.trackable import mean_ious

    ids = {one.id for one in drawn if one.targets != "none"}
    asked = [one for one in opened.expressions if one.key in ids]
    time_left = TimeLeft(len(asked))

    def show(done: int) -> None:
        progress.show(", ".join(filter(None, (f"tracking {done}/{len(asked)}", time_left(done)))))

    ious = mean_ious(worker, opened, asked, out.with_name(f"{out.name}.tracked"), show)
    kept = [one for one in drawn if one.targets == "none" or ious.get(one.id, -1.0) >= least]
    if not any(one.targets != "none" for one in kept):
        raise SettingsError(f"--trackable: no expression reaches a mean IoU of {least:g}; lower it")
    return kept


def _described(settings: Mapping[str, Any], least: float) -> Mapping[str, Any]:
    """What the file of the selection says. settings: of a `TargetTracker`."""
    return {
        "mean_iou": least,
        "tracker": settings["tracker"],
        "fingerprint": settings["fingerprints"]["tracker"],
    }


def _summary(chosen: Sequence[Candidate], seed: int) -> str:
    share = sum(one.targets == "none" for one in chosen) / len(chosen) if chosen else 0.0
    return f"\n{len(chosen):,} expressions, seed {seed}, share without a target {share:.3f}"
