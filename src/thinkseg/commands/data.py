"""`thinkseg data ...`: data sets as files."""

from __future__ import annotations

import argparse
from typing import Any

from thinkseg.commands import options
from thinkseg.console import Progress


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser("data", help="write a data set", description="Writes a data set as files.")
    sets = group.add_subparsers(title="data sets", metavar="SET", required=True)
    parser = sets.add_parser(
        "shapes",
        help="the synthetic world, in the layout of ReVOS",
        description="Writes clips of the shapes world as mp4 files and as a tree in the layout of ReVOS.",
    )
    options.add_split(parser)
    parser.add_argument("--count", type=options.count, default=50, metavar="N", help="clips (default: 50)")
    parser.add_argument("--size", type=options.size, default=(224, 224), metavar="WxH", help="default: 224x224")
    parser.add_argument(
        "--questions", type=options.count, default=1, metavar="Q", help="questions a clip at most (default: 1)"
    )
    options.add_out(parser)
    parser.set_defaults(run=shapes)


def shapes(arguments: argparse.Namespace) -> int:
    """Writes clips of the shapes world."""
    from thinkseg.data.shapes.export import export
    from thinkseg.outputs import check_out, result_folder

    check_out(arguments.out)
    with Progress() as progress, result_folder(arguments.out) as folder:
        progress.say("writing clips")
        asked = export(
            folder,
            arguments.split,
            range(arguments.start, arguments.start + arguments.count),
            size_wh=arguments.size,
            num_questions=arguments.questions,
            progress=progress,
        )
    print(f"wrote {arguments.count} clips with {asked} questions to {arguments.out}")
    return 0
