"""`thinkseg evaluate ...`: scores of a policy on a data set."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from thinkseg.cli import dataset_options, model_options, options
from thinkseg.cli.declare import flag, new_group
from thinkseg.cli.worker_options import WorkerOptions, open_workers
from thinkseg.console import Progress, say
from thinkseg.data import BENCHMARKS

if TYPE_CHECKING:
    from thinkseg.data.benchmarks.base import Benchmark
    from thinkseg.evaluation.evaluate import Evaluator

app = new_group("evaluate", "score a policy on a data set", "Scores a policy on a data set.", "DATASET")


def benchmark(
    dataset: dataset_options.DatasetOptions,
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    spreading: WorkerOptions,
    out: options.Out,
    corrected: options.Corrected = False,
    batch_size: options.BatchSize = 8,
    fps: options.Fps = None,
    png: Annotated[bool, flag("--png", "also write mask images, in the official layout")] = False,
    keep_going: options.KeepGoing = False,
) -> int:
    """Answers every expression of {title}, and scores the answers that have ground truth.

    Writes settings.json, results.jsonl, scores.json and the masks. Rerun with the same settings and folder, it resumes.
    The models are those of the options alone, not those of `thinkseg config`.
    The layout of the data set's files is described in docs/benchmarks.md.
    """
    from thinkseg.console import Meter
    from thinkseg.evaluation.evaluate import evaluate_with
    from thinkseg.evaluation.scores import format_scores
    from thinkseg.storage.outputs import check_folder

    check_folder(out)
    placement = spreading.placement(asking.device)
    models.note_unused_settings()
    chosen, asking = models.chosen(asking, only_options=True)
    asking.chain_function()
    with Progress() as progress:
        opened = dataset.open(progress, keep_going, fps)
        chosen.check_times(asking, opened.times())
        make = partial(_evaluator, opened, chosen, asking, batch_size, progress)
        videos = {one.key: one.video for one in opened.expressions}
        with open_workers(make, placement, progress, videos.__getitem__, batch_size) as worker:
            progress.show("evaluating")
            meter = Meter(progress, len(opened.expressions))
            scores = evaluate_with(worker, opened, out, save_png=png, corrected=corrected, on_row=meter)
    print(format_scores(scores))
    say(f"wrote {out / 'scores.json'}")
    return dataset_options.print_issues(opened)


def _evaluator(
    opened: Benchmark,
    chosen: model_options.ChosenModels,
    asking: model_options.PolicyOptions,
    batch_size: int,
    progress: Progress,
) -> Evaluator:
    """Loads the models. Runs in each worker."""
    from thinkseg.evaluation.evaluate import Evaluator, Method
    from thinkseg.models.devices import device_of

    tracker = chosen.load_tracker(progress, **asking.placement())
    policy = chosen.load_policy(progress, **asking.settings())
    method = Method(asking.chain_name, policy, tracker, asking.view(policy), batch_size, asking.reading)
    return Evaluator(opened, method, asking.settings() | {"device": device_of(policy, tracker)})


for name, info in BENCHMARKS.items():
    given = dataset_options.corrected_for(name) | ({"fps": None} if info.generated else {})
    dataset_options.benchmark_command(app, name, benchmark, **given)
