"""`thinkseg export FORMAT ...`: questions in the formats of other trainers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinkseg.cli import dataset_options, model_options, options, parsers
from thinkseg.cli.declare import chosen_argument, command, new_group, option, path, text
from thinkseg.console import Progress, say
from thinkseg.data import FILE_BENCHMARKS, open_benchmark
from thinkseg.errors import SettingsError
from thinkseg.export import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from thinkseg.data.readers.frame_rates import FrameTimes
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.job import ExportJob
    from thinkseg.export.samples import ExportSettings
    from thinkseg.export.sources import ExportSource
    from thinkseg.models.policies.families import Traits

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


app = new_group(
    "export",
    "write questions for another trainer",
    "Writes the questions of a data set in the format of another trainer, with frames as a policy is shown them "
    "and with what is needed to score answers. The formats are described in docs/export.md.",
    "DATASET",
)


@app.callback()
def choose_format(context: typer.Context, format: Annotated[str, chosen_argument(tuple(FORMATS), "FORMAT")]) -> None:
    """Hands the format on to the command for the data set."""
    context.obj = format


@dataclass(frozen=True, kw_only=True)
class ExportOptions(model_options.ViewOptions):
    """What is exported, how, and where to."""

    out: options.Out
    limit: Annotated[int | None, option(parsers.count, "N", "number of questions (default: all)")] = None
    model: Annotated[str, option(text, "NAME", "target model (folder or hub name); sets number and size of frames")] = (
        MODEL
    )
    coordinates: options.Coordinates = None
    name: Annotated[str | None, option(text, "NAME", "name of the export (default: that of its folder)")] = None
    info: Annotated[
        Path | None, option(parsers.output, "FILE", "llamafactory: a dataset_info.json to add it to (default: its own)")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ShapesExportOptions(ExportOptions):
    """The same for the shapes world, which has no end."""

    limit: Annotated[int, option(parsers.count, "N", "number of questions")] = 300


@command(app, "a chain-of-thought set")
def cot(
    context: typer.Context,
    root: Annotated[Path, option(path, "DIR", "folder of the set")],
    settings: ExportOptions,
) -> int:
    """Exports a set that `thinkseg annotate` made. Frames, labels and coordinates default to the set's."""
    from thinkseg.data.cot import read_cot_set
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.sources import CotSource

    read = read_cot_set(root)
    settings = replace(
        settings,
        frames=settings.frames or read.view.num_frames,
        frame_size=settings.frame_size or read.view.frame_wh,
        coordinates=settings.coordinates or read.view.coordinates,
        label_unit=settings.label_unit or (None if read.view.label_unit == "auto" else read.view.label_unit),
    )
    return _export(context.obj, settings, lambda samples: CotSource(read, samples, settings.limit), DatasetIssues())


@command(app, "the bundled synthetic world")
def shapes(
    context: typer.Context,
    settings: ShapesExportOptions,
    split: options.ShapesSplit = "train",
    start: options.ShapesStart = 0,
) -> int:
    """Exports questions about the shapes world, with the reasoning that its bundled policies are trained on."""
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.sources import ShapesSource

    source = ShapesSource(open_benchmark("shapes", split=split, start=start, limit=settings.limit))
    return _export(context.obj, settings, lambda _: source, DatasetIssues())


def benchmark(
    context: typer.Context,
    dataset: dataset_options.DatasetOptions,
    settings: ExportOptions,
    fps: options.Fps = None,
    keep_going: options.KeepGoing = False,
) -> int:
    """Exports the expressions of {title}."""
    from thinkseg.export.sources import BenchmarkSource

    with Progress() as progress:
        opened = dataset.open(progress, keep_going, fps)
    source = BenchmarkSource(opened, settings.limit)
    status = _export(context.obj, settings, lambda _: source, opened.issues, opened.times())
    dataset_options.print_issues(opened)
    return status


for name in FILE_BENCHMARKS:
    dataset_options.benchmark_command(app, name, benchmark)


def _export(
    format: str,
    settings: ExportOptions,
    source_of: Callable[[ExportSettings], ExportSource],
    issues: DatasetIssues,
    times: FrameTimes | None = None,
) -> int:
    """Writes the folder, and prints the numbers of questions written and skipped."""
    from thinkseg.export.job import checked_format, export
    from thinkseg.export.llamafactory import add_entry, check_entry
    from thinkseg.storage.outputs import check_file
    from thinkseg.storage.result_folder import result_folder

    checked_format(format, settings.chain_name)
    settings.chain_function()
    if settings.info and format != "llamafactory":
        raise SettingsError(f"--info: {format} reads no dataset_info.json; only llamafactory does")
    if settings.info:
        check_file(settings.info)
        check_entry(settings.info, _name(settings), settings.out)
    infos = [settings.info] if settings.info else []
    with Progress() as progress, result_folder(settings.out, "export", *infos) as folder:
        job = _job(format, settings, folder, _traits(settings), times)
        progress.show("writing questions")
        source = source_of(job.settings)
        result = export(source, format, replace(job, source=source.name), issues, progress)
    if settings.info:
        add_entry(settings.info, _name(settings), settings.out)
    for reason, count in result.skipped.items():
        print(f"skipped, {reason}: {count}")
    say(f"wrote {result.written} questions to {settings.out}")
    return 0


def _job(format: str, settings: ExportOptions, folder: Path, traits: Traits, times: FrameTimes | None) -> ExportJob:
    from thinkseg.export.images import ImageWriter
    from thinkseg.export.job import ExportJob
    from thinkseg.export.samples import ExportSettings
    from thinkseg.models.policies.scripted import ScriptedPolicy

    # Never prompted: only the view of this policy is used.
    own = traits.view
    policy = ScriptedPolicy([], coordinates=own.coordinates, size_multiple=traits.size_multiple, view=own)
    view = settings.view(policy) if times is None else times.decide(settings.view(policy))
    kind = FORMATS[format]
    images = ImageWriter(folder)
    samples = ExportSettings(settings.chain_name, view, images, kind.for_sft, kind.for_rl, opening=traits.opening)
    name = _name(settings)
    return ExportJob(folder, settings.out, "", name, samples, settings.model, traits.size_multiple, settings.info)


def _traits(settings: ExportOptions) -> Traits:
    """How the target model is shown videos, according to its folder or else its family."""
    from thinkseg.models import resolve_model
    from thinkseg.models.policies.families import UNKNOWN, Traits, family_of

    place = resolve_model(settings.model)
    if os.path.isdir(place):
        from thinkseg.models.policies.qwen.checkpoint import load_view
        from thinkseg.models.policies.qwen.encoder import Encoder

        encoder = Encoder.load(place)
        known: Traits | None = Traits(encoder.size_multiple, load_view(place), encoder.template.opening)
    else:
        known = family_of(settings.model)
    if known is None and not settings.coordinates:
        raise SettingsError(
            f"{settings.model}: how it writes boxes is not known; pass --coordinates {' or '.join(options.COORDINATES)}"
        )
    return (known or UNKNOWN).with_coordinates(settings.coordinates)


def _name(settings: ExportOptions) -> str:
    name = settings.name or settings.out.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise SettingsError(f"--name: {name!r} is not valid; use letters, digits, dots, dashes and underscores")
    return name
