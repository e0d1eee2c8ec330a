"""`thinkseg evaluate ...`: scores of a policy on a data set."""

from __future__ import annotations

from typing import Annotated

from thinkseg.cli import dataset_options, model_options, options
from thinkseg.cli.declare import flag, new_group
from thinkseg.console import Progress, say
from thinkseg.data import BENCHMARKS

app = new_group("evaluate", "score a policy on a data set", "Scores a policy on a data set.", "DATASET")


def benchmark(
    dataset: dataset_options.DatasetOptions,
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
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
    from thinkseg.evaluation.evaluate import Method, evaluate
    from thinkseg.evaluation.scores import format_scores
    from thinkseg.models.devices import device_of
    from thinkseg.storage.outputs import check_folder

    check_folder(out)
    models.note_unused_settings()
    chosen, asking = models.chosen(asking, only_options=True)
    asking.chain_function()
    with Progress() as progress:
        opened = dataset.open(progress, keep_going, fps)
        chosen.check_times(asking, opened.times())
        tracker = chosen.load_tracker(progress, **asking.placement())
        policy = chosen.load_policy(progress, **asking.settings())
        progress.show("evaluating")
        scores = evaluate(
            opened,
            Method(asking.chain_name, policy, tracker, asking.view(policy), batch_size, asking.reading),
            out,
            save_png=png,
            corrected=corrected,
            settings=asking.settings() | {"device": device_of(policy, tracker)},
            on_row=Meter(progress, len(opened.expressions)),
        )
    print(format_scores(scores))
    dataset_options.print_issues(opened)
    say(f"wrote {out / 'scores.json'}")
    return 0


for name, info in BENCHMARKS.items():
    given = dataset_options.corrected_for(name) | ({"fps": None} if info.generated else {})
    dataset_options.benchmark_command(app, name, benchmark, **given)
