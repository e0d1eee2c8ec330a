"""`thinkseg segment`: the masks of what a sentence means in one video."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkseg.cli import model_options, options, parsers
from thinkseg.cli.declare import argument, command, option, path
from thinkseg.console import Progress, say
from thinkseg.errors import SettingsError, one_line
from thinkseg.report.formats import DEFAULT, FORMATS

if TYPE_CHECKING:
    from thinkseg.types import Segmentation, Tracker

UNUSABLE = 1
"""Exit status if the model's reply could not be used."""

app = typer.Typer()


@command(app, "segment what a sentence means in a video")
def segment(
    video: Annotated[Path, argument(path, "VIDEO", "a video file, or a folder of images (.jpg, .png, ...)")],
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    out: options.Out,
    query: Annotated[str | None, argument(str, "QUERY", "what to segment, e.g. 'the one that gets hit'")] = None,
    keyframe: Annotated[
        int | float | None, option(parsers.moment, "T", "frame that the boxes are on: a time (2.4s) or an index (57)")
    ] = None,
    boxes: Annotated[
        list[parsers.Box] | None,
        option(parsers.box, "x1,y1,x2,y2", "a box on the keyframe, in pixels; repeat it for more objects", "--box"),
    ] = None,
    fps: options.Fps = None,
    save: Annotated[
        tuple[str, ...], option(parsers.formats, "NAME,NAME", options.FORMATS_HELP, show_default=",".join(DEFAULT))
    ] = DEFAULT,
) -> int:
    """Answers QUERY about VIDEO and writes answer.json, masks.json and the formats of --save to --out.

    The bundled policies know colored shapes alone: for any other video, choose a model with --policy.

    With --keyframe and --box, the tracker follows these boxes, and no policy is loaded. The status is 1 if the policy's
    reply could not be used; answer.json has the reason.
    """
    from thinkseg.report.result_files import COMMAND, format_result, write_files
    from thinkseg.storage.result_folder import result_folder

    with Progress() as progress, result_folder(out, COMMAND, Path(video)) as folder:

        def load_tracker() -> Tracker:
            progress.show(f"loading {models.tracker}")
            # With one query, nothing computed from the frames is used again.
            return models.load_tracker(asking.chain, **asking.placement(), feature_cache_bytes=0)

        if keyframe is None and not boxes:
            result, settings = _answer(video, query, fps, models, asking, load_tracker, progress)
        else:
            result, settings = _track(video, query, fps, keyframe, boxes or [], load_tracker, progress)
        progress.show("writing")
        left_out = write_files(result, folder, settings, progress, save)
    print(format_result(result))
    say(f"wrote {out}")
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for name, error in left_out.items():
        print(one_line(f"{FORMATS[name].file} is missing: {error}"), file=sys.stderr)
    return UNUSABLE if result.failure else 0


def _answer(
    file: Path,
    query: str | None,
    fps: float | None,
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Prompts the policy and tracks its boxes. Checks its arguments before it loads the policy."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.data.readers.frame_rates import Rates
    from thinkseg.models.devices import device_of
    from thinkseg.ops.video import open_video
    from thinkseg.pipeline import segment_sample
    from thinkseg.types import VideoSample

    if query is None:
        raise SettingsError("QUERY: is missing; say what to segment, or give --keyframe and --box to track a box")
    query, chain, rates = checked_query(query), asking.chain_function(), Rates(fps)
    opened = open_video(file)
    times, video = rates.times_of(opened), rates.timed(opened)
    models.check_times(asking, times)
    tracker = load_tracker()
    policy = models.load_policy(asking.chain, progress, **asking.settings())
    view = times.decide(asking.view(policy))
    settings = {
        "policy": policy.name,
        "tracker": tracker.name,
        "chain": asking.chain,
        "frames": view.num_frames,
        "frame_size": list(view.frame_wh),
        "overview_size": list(view.overview.frame_wh),
        "closeup_size": list(view.closeup.frame_wh),
        "reading": asking.reading,
        "label_unit": view.label_unit,
        **asking.settings(),
        "device": device_of(policy, tracker),
    }
    progress.show("prompting and tracking")
    sample = VideoSample(id=file.name, video=video, query=query)
    return segment_sample(sample, chain, policy, tracker, view, progress, asking.reading), settings


def _track(
    file: Path,
    query: str | None,
    fps: float | None,
    moment: int | float | None,
    given: Sequence[parsers.Box],
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Tracks boxes given by the user."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.data.readers.frame_rates import Rates
    from thinkseg.models.devices import device_of
    from thinkseg.ops.inputs import boxes_in_frame, frame_at
    from thinkseg.ops.video import open_video
    from thinkseg.pipeline import track_boxes
    from thinkseg.types import VideoSample

    if moment is None or not given:
        raise SettingsError("to track a box, both are needed: --keyframe, and --box once per object")
    query = "" if query is None else checked_query(query)
    video = Rates(fps).timed(open_video(file))
    keyframe = frame_at(video, moment)
    boxes, notes = boxes_in_frame(given, video.size_wh)
    tracker = load_tracker()
    for note in notes:
        progress.note(note)
    progress.show("tracking")
    sample = VideoSample(id=file.name, video=video, query=query)
    result = track_boxes(sample, keyframe, boxes, tracker, progress)
    return result, {"policy": None, "tracker": tracker.name, "device": device_of(tracker)}
