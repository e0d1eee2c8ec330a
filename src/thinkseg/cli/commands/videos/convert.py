"""`thinkseg convert`: the masks of a result in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import argument, command, option, path
from thinkseg.console import Progress, say

app = typer.Typer()


@command(app, "write the masks of a result in the formats of other tools")
def convert(
    result: Annotated[Path, argument(path, "RESULT", "a folder that `thinkseg segment` wrote")],
    to: Annotated[tuple[str, ...], option(parsers.formats, "NAME,NAME", options.FORMATS_HELP)],
    out: Annotated[
        Path | None, option(parsers.output, "DIR", "folder for the files (default: they are added to RESULT)")
    ] = None,
    video: Annotated[
        Path | None, option(path, "VIDEO", "the video of the result, for overlay and cutout, if it was moved")
    ] = None,
) -> int:
    """Writes the masks of RESULT in other formats; nothing is tracked again. See docs/formats.md."""
    from thinkseg.report.formats.writing import write_formats
    from thinkseg.report.result_files import COMMAND
    from thinkseg.report.stored_result import read_result
    from thinkseg.storage.result_folder import result_folder

    stored = read_result(result, video)
    place = result_folder(out, "convert", result) if out else result_folder(result, COMMAND, extend=True)
    with Progress() as progress, place as folder:
        progress.show("writing")
        for error in write_formats(stored, folder, to, progress).values():
            raise error
    say(f"wrote {out or result}")
    return 0
