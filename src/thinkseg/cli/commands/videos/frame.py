"""`thinkseg frame`: one frame of a video as a picture, with a ruler to read boxes and points from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import argument, command, flag, option, path
from thinkseg.console import say
from thinkseg.errors import SettingsError

app = typer.Typer()


@command(app, "write a frame of a video as a picture, with a ruler")
def frame(
    video: Annotated[Path, argument(path, "VIDEO", "a video file, or a folder of images (.jpg, .png, ...)")],
    moment: Annotated[int | float, argument(parsers.moment, "T", "a time (2.4s) or an index (57)")],
    out: Annotated[Path, option(parsers.output, "FILE", "the picture to write, .png or .jpg")] = Path("frame.png"),
    grid: Annotated[bool, flag("--grid", "draw a grid and rulers in pixels of the video")] = False,
    result: Annotated[
        Path | None, option(path, "RESULT", "draw the objects of a result of VIDEO, with their numbers")
    ] = None,
    fps: options.Fps = None,
) -> int:
    """Writes the frame of VIDEO at T, from which --box, --point and --mask of `thinkseg segment` can be read."""
    from PIL import Image

    from thinkseg.data.readers.frame_rates import Rates
    from thinkseg.ops.draw import ruled
    from thinkseg.ops.inputs import frame_at
    from thinkseg.ops.pictures import is_image
    from thinkseg.ops.video import open_video
    from thinkseg.report.result import Result
    from thinkseg.report.stored_result import read_result
    from thinkseg.storage.outputs import check_file, writing

    if not is_image(out.name):
        raise SettingsError(f"--out: {str(out)!r} is no name of an image; give one that ends in .png or .jpg")
    check_file(out)
    frames = Rates(fps).timed(open_video(video))
    index = frame_at(frames, moment)
    picture = Result.of(read_result(result, video)).overlay(index) if result else frames[index]
    with writing(out):
        Image.fromarray(ruled(picture) if grid else picture).save(out, quality=95)
    seconds = frames.time_of(index)
    time = "" if seconds is None else f" ({seconds:.3f} s)"
    print("frame {}{} of {}, {}x{} pixels".format(index, time, len(frames), *frames.size_wh))
    say(f"wrote {out}")
    return 0
