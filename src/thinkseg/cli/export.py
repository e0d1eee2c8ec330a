"""`thinkseg export FORMAT SET`: questions as other trainers take them."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.data import BENCHMARKS
from thinkseg.errors import SettingsError
from thinkseg.export import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.job import Job
    from thinkseg.export.questions import ExportSettings
    from thinkseg.export.sources import Source
    from thinkseg.models.policies.families import Traits

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser(
        "export",
        help="write questions for another trainer",
        description="Writes the questions of a data set in the format of another trainer, with their frames as a "
        "policy sees them and what is needed to judge answers. What the formats look like is told in docs/export.md.",
    )
    group.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    _add_cot(sets)
    _add_shapes(sets)
    for name in BENCHMARKS:
        parser = options.add_benchmark(sets, name, benchmark, "Exports the expressions of {title}.")
        parser.add_argument(
            "--fps", type=options.rate, metavar="F", help="frames a second of folders of frames (default: numbered)"
        )
        options.add_keep_going(parser)
        _add_rest(parser)


def _add_cot(sets: Any) -> None:
    parser = sets.add_parser(
        "cot",
        help="a chain-of-thought set",
        description="Exports a set that `thinkseg annotate` made. Its frames, clock and coordinates are the set's.",
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder of the set")
    _add_rest(parser)
    parser.set_defaults(run=cot)


def _add_shapes(sets: Any) -> None:
    parser = sets.add_parser(
        "shapes",
        help="the synthetic world that comes along",
        description="Exports questions about the shapes world, with the reasoning that its own policy is taught.",
    )
    options.add_split(parser)
    _add_rest(parser, limit=300)
    parser.set_defaults(run=shapes, split="train")


def _add_rest(parser: argparse.ArgumentParser, limit: int | None = None) -> None:
    parser.add_argument(
        "--limit", type=options.count, default=limit, metavar="N", help=f"questions (default: {limit or 'all'})"
    )
    parser.add_argument(
        "--model",
        default=MODEL,
        metavar="NAME",
        help=f"whom it is for, a folder or hub name; decides how frames are shown (default: {MODEL})",
    )
    options.add_chain(parser)
    options.add_view(parser)
    options.add_coordinates(parser)
    # Its place is not `name`, which is the data set's.
    parser.add_argument(
        "--name", dest="called", metavar="NAME", help="what the export is called (default: as its folder)"
    )
    parser.add_argument(
        "--info", type=Path, metavar="FILE", help="llamafactory: a dataset_info.json to add it to (default: its own)"
    )
    options.add_out(parser)


def cot(arguments: argparse.Namespace) -> int:
    """Exports a chain-of-thought set."""
    from thinkseg.data.cot import read_cot_set
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.sources import CotSource

    read = read_cot_set(arguments.root)
    # What the set says of itself goes before what is known of the model, and what is asked for before both.
    arguments.frames = arguments.frames or read.view.num_frames
    arguments.frame_size = arguments.frame_size or read.view.frame_wh
    arguments.coordinates = arguments.coordinates or read.view.coordinates
    return _export(arguments, lambda asking: CotSource(read, asking, arguments.limit), DatasetIssues())


def shapes(arguments: argparse.Namespace) -> int:
    """Exports questions about the shapes world."""
    from thinkseg.data.readers.issues import DatasetIssues
    from thinkseg.export.sources import ShapesSource

    source = ShapesSource(arguments.split, arguments.start, arguments.limit)
    return _export(arguments, lambda _: source, DatasetIssues())


def benchmark(arguments: argparse.Namespace) -> int:
    """Exports the expressions of a benchmark."""
    from thinkseg.export.sources import BenchmarkSource

    with Progress() as progress:
        opened = options.open_benchmark(arguments, progress)
    source = BenchmarkSource(opened, arguments.limit, arguments.fps)
    status = _export(arguments, lambda _: source, opened.issues)
    options.tell_problems(opened)
    return status


def _export(arguments: argparse.Namespace, source_of: Callable[[ExportSettings], Source], issues: DatasetIssues) -> int:
    """Writes the folder, and says what is in it and what is not."""
    from thinkseg.export.job import check, export
    from thinkseg.export.llamafactory import add_entry, check_entry
    from thinkseg.storage.atomic import check_out, result_folder

    check(arguments.format, arguments.chain)
    check_out(arguments.out)
    if arguments.info and arguments.format != "llamafactory":
        raise SettingsError(f"--info is for llamafactory alone: {arguments.format} reads no dataset_info.json")
    if arguments.info:
        check_entry(arguments.info, _name(arguments), arguments.out)
    traits = _traits(arguments)
    with Progress() as progress, result_folder(arguments.out) as folder:
        progress.say("writing questions")
        job = _job(arguments, folder, traits)
        source = source_of(job.asking)
        done = export(source, arguments.format, replace(job, source=source.name), issues, progress)
    if arguments.info:
        add_entry(arguments.info, _name(arguments), arguments.out)
    for why, count in done.left_out.items():
        print(f"left out for {why}: {count}")
    print(f"wrote {done.written} questions to {arguments.out}")
    return 0


def _job(arguments: argparse.Namespace, folder: Path, traits: Traits) -> Job:
    from thinkseg.export.images import ImageWriter
    from thinkseg.export.job import Job
    from thinkseg.export.questions import ExportSettings
    from thinkseg.models.policies.scripted import ScriptedPolicy

    # A policy that is never asked: how it is shown videos is all that matters of it.
    view = traits.view
    policy = ScriptedPolicy([], coordinates=view.coordinates, size_multiple=traits.size_multiple, view=view)
    kind = FORMATS[arguments.format]
    asking = ExportSettings(
        arguments.chain, options.view_of(arguments, policy), ImageWriter(folder), kind.replies, kind.prompts
    )
    name = _name(arguments)
    return Job(folder, arguments.out, "", name, asking, arguments.model, traits.size_multiple, arguments.info)


def _traits(arguments: argparse.Namespace) -> Traits:
    """How the model that the export is for is shown videos: as its folder, or else its family, says."""
    from thinkseg.models import resolve_model
    from thinkseg.models.policies.families import UNKNOWN, Traits, family_of

    place = resolve_model(arguments.model)
    if os.path.isdir(place):
        from thinkseg.models.policies.qwen.checkpoint import load_view
        from thinkseg.models.policies.qwen.encoder import Encoder

        known: Traits | None = Traits(Encoder.load(place).size_multiple, load_view(place))
    else:
        known = family_of(arguments.model)
    if known is None and not arguments.coordinates:
        raise SettingsError(
            f"{arguments.model}: how it writes boxes is not known: say so with --coordinates pixels, or thousandths"
        )
    return (known or UNKNOWN).with_coordinates(arguments.coordinates)


def _name(arguments: argparse.Namespace) -> str:
    name = arguments.called or arguments.out.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise SettingsError(f"{name!r} is no name for an export: give a --name of letters, digits, dots and dashes")
    return str(name)
