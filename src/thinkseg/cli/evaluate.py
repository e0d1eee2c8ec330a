"""`thinkseg evaluate ...`: scores of a policy on a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from thinkseg.cli import options
from thinkseg.cli.declare import command, flag, new_group, option
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS

if TYPE_CHECKING:
    from thinkseg.types import VideoSample

app = new_group("evaluate", "score a policy on a data set", "Scores a policy on a data set.", "DATASET")


@command(app, "the bundled synthetic world")
def shapes(
    models: options.ModelOptions,
    asking: options.PolicyOptions,
    out: options.Out,
    split: options.ShapesSplit = "val",
    start: options.ShapesStart = 0,
    limit: Annotated[int, option(options.count, "N", "number of samples")] = 300,
    batch_size: options.BatchSize = 8,
) -> int:
    """Scores a policy on questions about the shapes world.

    Writes settings.json, results.jsonl and scores.json. Rerun with the same settings and folder, it resumes.
    """
    from thinkseg.chains import get_chain
    from thinkseg.data.shapes import episode
    from thinkseg.evaluation.evaluate import evaluate, table
    from thinkseg.storage.atomic import check_writable

    check_writable(out)
    get_chain(asking.chain)
    episode(split, start)
    tracker = models.load_tracker(asking.chain, **asking.placement())
    with Progress() as progress:
        policy = models.load_policy(asking.chain, progress, **asking.settings())
        progress.show("evaluating")
        scores = evaluate(
            Shapes(split, start, limit),
            asking.chain,
            policy,
            tracker,
            out,
            view=asking.view(policy),
            batch_size=batch_size,
            settings={"data": "shapes", "split": split, **asking.settings()},
            progress=progress,
        )
    print(table(scores))
    print(f"wrote {out / 'scores.json'}")
    return 0


def benchmark(
    dataset: options.DatasetOptions,
    models: options.ModelOptions,
    asking: options.PolicyOptions,
    out: options.Out,
    corrected: options.Corrected = False,
    batch_size: options.BatchSize = 8,
    fps: options.Fps = None,
    png: Annotated[bool, flag("--png", "also write mask images, in the official layout")] = False,
    keep_going: options.KeepGoing = False,
) -> int:
    """Answers every expression of {title}, and scores the answers that have ground truth.

    Writes settings.json, results.jsonl, scores.json and the masks. Rerun with the same settings and folder, it resumes.
    The layout of the data set's files is described in docs/benchmarks.md.
    """
    from thinkseg.chains import get_chain
    from thinkseg.console import Meter
    from thinkseg.evaluation.evaluate import Method, evaluate_benchmark
    from thinkseg.evaluation.scores import describe
    from thinkseg.storage.atomic import check_writable

    check_writable(out)
    get_chain(asking.chain)
    with Progress() as progress:
        opened = dataset.open(progress, keep_going)
        tracker = models.load_tracker(asking.chain, **asking.placement())
        policy = models.load_policy(asking.chain, progress, **asking.settings())
        progress.show("evaluating")
        scores = evaluate_benchmark(
            opened,
            Method(asking.chain, policy, tracker, asking.view(policy), batch_size),
            out,
            fps=fps,
            pictures=png,
            fixed=corrected,
            settings=asking.settings(),
            on_row=Meter(progress, len(opened.expressions)),
        )
    print(describe(scores))
    options.print_issues(opened)
    print(f"wrote {out / 'scores.json'}")
    return 0


for name in BENCHMARKS:
    options.benchmark_command(app, name, benchmark, **options.corrected_for(name))


@dataclass(frozen=True, slots=True)
class Shapes:
    """Samples `start`, `start` + 1, ... of a split, each made when it is needed."""

    split: str
    start: int
    limit: int

    def __len__(self) -> int:
        return self.limit

    def __iter__(self) -> Iterator[VideoSample]:
        from thinkseg.data.shapes import load

        return (load(self.split, index) for index in range(self.start, self.start + self.limit))
