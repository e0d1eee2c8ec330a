"""`thinkseg annotate ...`: verified chain-of-thought sets from questions with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from thinkseg.cli import dataset_options, options, parsers
from thinkseg.cli.declare import choice, command, flag, new_group, option, path, suggested
from thinkseg.cli.worker_options import WorkerOptions, open_workers
from thinkseg.console import Progress, TimeLeft, say
from thinkseg.data import BENCHMARKS, FILE_BENCHMARKS, open_benchmark
from thinkseg.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from thinkseg.annotation.annotators import Annotator
    from thinkseg.annotation.build import AnnotationResult
    from thinkseg.annotation.costs import CostTracker
    from thinkseg.annotation.source import AnnotationSource
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.selection.strata import Candidate
    from thinkseg.types import View

app = new_group(
    "annotate",
    "build a chain-of-thought set",
    "Builds a chain-of-thought set from questions with known answers.",
    "DATASET",
)

Balance = Annotated[
    Literal["proportional", "balanced"],
    choice(("proportional", "balanced"), "types of questions as frequent as in the data, or equally frequent"),
]
DEFAULT_COUNT = 500
TRAINING = "train"
"""Default split of a benchmark that has it: the set is for training."""


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Which questions are drawn, and how their videos are shown."""

    count: Annotated[
        int | None, option(parsers.count, "N", "number of questions (default: 500, or all with --select)")
    ] = None
    balance: Balance = "proportional"
    include_no_target: Annotated[bool, flag("--include-no-target", "also draw questions without a target")] = False
    seed: Annotated[int, option(parsers.non_negative_int, "S", "of the draw")] = 0
    frames: Annotated[int, option(parsers.count, "N", "number of frames per sample")] = 16
    frame_size: Annotated[parsers.Size, option(parsers.size, "WxH", "size of the frames", show_default="560x560")] = (
        560,
        560,
    )
    review: Annotated[bool, flag("--review", "write review.html, a page that shows samples")] = False
    prompts: Annotated[
        Path | None, option(path, "FILE", "labels of frames: a wording of veason, YAML (default: the built-in one)")
    ] = None
    coordinates: options.Convention = "pixels"
    """A served model writes no boxes, so that the unit of its boxes does not matter."""

    def view(self, label_unit: options.Labels) -> View:
        """How the annotator is shown videos. Raises SettingsError if --prompts is not a wording of veason."""
        from thinkseg.storage.prompt_file import read_prompts
        from thinkseg.types import View

        prompts = read_prompts(self.prompts, "veason") if self.prompts else None
        return View(self.frames, self.frame_size, self.coordinates, label_unit, prompts=prompts)


@dataclass(frozen=True, kw_only=True)
class ShapesDrawOptions(DrawOptions):
    """The same for the shapes world, whose rules write boxes."""

    count: Annotated[int, option(parsers.count, "N", "number of questions")] = DEFAULT_COUNT
    frames: Annotated[int, option(parsers.count, "N", "number of frames per sample")] = 4
    frame_size: Annotated[parsers.Size, option(parsers.size, "WxH", "size of the frames", show_default="112x112")] = (
        112,
        112,
    )
    coordinates: Annotated[options.Convention, choice(options.COORDINATES, "how the rules write boxes")] = "pixels"


@dataclass(frozen=True, kw_only=True)
class AnnotatorOptions:
    """The annotator, its settings and its budget."""

    annotator: Annotated[str, suggested(("openai:",), "NAME", "openai:MODEL@BASE_URL")]
    temperature: Annotated[float, option(parsers.temperature, "T", "of sampling; 0 is greedy")] = 0.0
    max_tokens: Annotated[int, option(parsers.count, "N", "longest reply, in tokens")] = 1024
    jpeg_quality: Annotated[int, option(parsers.jpeg_quality, "Q", "of the frames sent, 1 to 100")] = 90
    concurrency: Annotated[int, option(parsers.count, "N", "concurrent requests")] = 16
    timeout: Annotated[float, option(parsers.positive, "S", "seconds per request")] = 600.0
    max_tokens_total: Annotated[
        int | None, option(parsers.count, "N", "most prompt and completion tokens, over all runs of the folder")
    ] = None
    max_cost: Annotated[float | None, option(parsers.non_negative, "C", "most cost, over all runs of the folder")] = (
        None
    )
    price_in: Annotated[float, option(parsers.non_negative, "C", "per million prompt tokens")] = 0.0
    price_out: Annotated[float, option(parsers.non_negative, "C", "per million completion tokens")] = 0.0


@dataclass(frozen=True, kw_only=True)
class ShapesAnnotatorOptions(AnnotatorOptions):
    """The same for the shapes world, which rules can explain."""

    annotator: Annotated[
        str, suggested(("rules", "openai:"), "NAME", "openai:MODEL@BASE_URL, or rules, which need no model")
    ] = "rules"


@command(app, "the bundled synthetic world")
def shapes(
    draw: ShapesDrawOptions,
    asking: ShapesAnnotatorOptions,
    spreading: WorkerOptions,
    out: options.Out,
    split: options.ShapesSplit = TRAINING,
    start: options.ShapesStart = 0,
    pool: Annotated[
        int | None, option(parsers.count, "N", "number of clips to draw from (default: 2 * --count)")
    ] = None,
) -> int:
    """Draws questions of the shapes world, has an annotator explain their known answers, and checks what it writes.

    Keeps valid explanations as a set for `thinkseg train sft` and `thinkseg export`. Rerun with the same settings and
    folder, it resumes, and requests nothing twice.
    """
    from thinkseg.annotation.source import AnnotationSource

    def source(progress: Progress) -> AnnotationSource:
        progress.show("drawing clips")
        return AnnotationSource(open_benchmark("shapes", split=split, start=start, limit=pool or 2 * draw.count))

    return _annotate(draw, asking, spreading, out, "the shapes world", draw.view("seconds"), source, None)


def benchmark(
    dataset: dataset_options.SelectedDatasetOptions,
    draw: DrawOptions,
    asking: AnnotatorOptions,
    spreading: WorkerOptions,
    out: options.Out,
    fps: options.Fps = None,
    label_unit: Annotated[options.Labels, choice(get_args(options.Labels), "labels of the frames")] = "seconds",
    keep_going: options.KeepGoing = False,
) -> int:
    """Draws expressions of {title}, has an annotator explain their known answers, and checks what it writes.

    Keeps valid explanations as a set for `thinkseg train sft` and `thinkseg export`. Rerun with the same settings and
    folder, it resumes, and requests nothing twice.
    """
    from thinkseg.annotation.source import AnnotationSource

    if not asking.annotator.startswith("openai:"):
        raise SettingsError(
            f"--annotator: {asking.annotator!r} cannot explain a benchmark, only shapes; give openai:MODEL@BASE_URL"
        )
    with Progress() as progress:
        opened = dataset.open(progress, keep_going, fps)
    if dataset.select:
        draw = replace(draw, count=draw.count or len(opened.expressions), include_no_target=True)
    view = opened.times().decide(draw.view(label_unit))
    source = AnnotationSource(opened)
    title = BENCHMARKS[dataset.name].title
    status = _annotate(draw, asking, spreading, out, title, view, lambda _: source, opened.issues)
    return dataset_options.print_issues(opened) or status


for name in FILE_BENCHMARKS:
    dataset_options.benchmark_command(app, name, benchmark, preferred=TRAINING)


def _annotate(
    draw: DrawOptions,
    asking: AnnotatorOptions,
    spreading: WorkerOptions,
    out: Path,
    title: str,
    view: View,
    open_source: Callable[[Progress], AnnotationSource],
    issues: DatasetIssues | None,
) -> int:
    from thinkseg.annotation.build import AnnotationSettings, annotate
    from thinkseg.annotation.costs import CostBudget, CostTracker
    from thinkseg.annotation.review import REVIEW, write_review
    from thinkseg.annotation.tasks import Preparer
    from thinkseg.selection.draw import draw as draw_candidates
    from thinkseg.selection.strata import strata_table
    from thinkseg.storage.outputs import check_folder

    check_folder(out)
    placement = spreading.placement()
    budget = CostBudget(asking.max_tokens_total, asking.max_cost, asking.price_in, asking.price_out)
    with Progress() as progress:
        progress.show(f"connecting to {asking.annotator}")
        annotator, settings = _connect(draw, asking, view)
        source = open_source(progress)
        count = draw.count or DEFAULT_COUNT
        drawn = draw_candidates(source.candidates, count, draw.balance, draw.seed, draw.include_no_target)
        if not drawn:
            raise SettingsError(f"{title}: no question to draw; choose another split, or pass --include-no-target")
    print(strata_table({"available": source.candidates, "drawn": drawn}), flush=True)
    costs = CostTracker(budget, annotator.max_reply_tokens)
    annotation = AnnotationSettings(view, draw.seed, settings)
    with Progress() as progress:
        meter = _meter(progress, len(drawn), costs)
        make = partial(Preparer, source, view, draw.seed)
        videos = {one.id: one.video for one in drawn}
        with open_workers(make, placement, progress, videos.__getitem__) as preparer:
            made = annotate(
                source, drawn, annotator, annotation, costs, out, issues=issues, preparer=preparer, on_answer=meter
            )
        if draw.review:
            progress.show("writing the page")
            write_review(out, out / REVIEW, f"Reasoning on {title}, by {annotator.name}")
    print(_summary(made, drawn, costs))
    say(f"wrote {out}")
    return _status(made, len(drawn) - made.num_unreadable)


def _connect(draw: DrawOptions, asking: AnnotatorOptions, view: View) -> tuple[Annotator, dict[str, Any]]:
    """The annotator, and the settings that determine its output."""
    from thinkseg.annotation.annotators import RULES, connect

    if draw.prompts and asking.annotator == RULES:
        raise SettingsError("--prompts: the rules are not prompted; drop it, or give --annotator openai:MODEL@BASE_URL")
    drawing = {"balance": draw.balance, "no_target": draw.include_no_target}
    if asking.annotator == RULES:
        return connect(RULES, view, draw.seed), drawing
    sampling = {
        "temperature": asking.temperature,
        "max_new_tokens": asking.max_tokens,
        "jpeg_quality": asking.jpeg_quality,
    }
    settings = {"concurrency": asking.concurrency, "timeout": asking.timeout}
    return connect(asking.annotator, view, draw.seed, **sampling, **settings), {**drawing, **sampling}


def _summary(made: AnnotationResult, drawn: list[Candidate], costs: CostTracker) -> str:
    """Tables of the questions kept and of the reasons of rejections, and the tokens used."""
    from thinkseg import console
    from thinkseg.annotation.answers import count_reasons
    from thinkseg.annotation.verify import REASONS
    from thinkseg.selection.strata import strata_table

    kept = [one.candidate for one in made.verifications if one.sample]
    parts = ["", strata_table({"drawn": drawn, "kept": kept})]
    if found := count_reasons(made.verifications):
        lines = [(reason, str(count), REASONS[reason]) for reason, count in found.items()]
        parts += ["", console.table(("rejected for", "times", "meaning"), lines, numbers={1})]
    if costs.prompt_tokens:
        cost = f", cost {costs.cost:,.2f}" if costs.cost else ""
        parts += ["", f"tokens: {costs.prompt_tokens:,} prompt, {costs.completion_tokens:,} completion{cost}"]
    return "\n".join(parts)


def _status(made: AnnotationResult, total: int) -> int:
    """Returns 0, also if the budget is used up. Raises ModelError if requests failed.

    total: questions drawn whose files can be read.
    """
    if made.failures:
        left = len(made.failures) + made.num_unasked
        raise ModelError(f"{left} of {total} questions have no answer ({made.failures[0]}): rerun to request them")
    if made.num_unasked:
        print(f"the budget is used up: {made.num_unasked} of {total} questions were not requested")
    return 0


def _meter(progress: Progress, total: int, costs: CostTracker) -> Callable[[int], None]:
    """Shows the questions done, the tokens and cost of all, and the time left, when called with the number done."""
    time_left = TimeLeft(total)

    def show(done: int) -> None:
        tokens = costs.prompt_tokens + costs.completion_tokens
        parts = (
            f"annotating {done}/{total}",
            f"{tokens:,} tokens" if tokens else None,
            f"cost {costs.cost:,.2f}" if costs.cost else None,
            time_left(done),
        )
        progress.show(", ".join(filter(None, parts)))

    return show
