"""`thinkseg segment`: the masks of what a sentence means in one video, or in many."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkseg.cli import model_options, options, parsers
from thinkseg.cli.commands.videos.segment_many import FAILED, Job, format_seconds, segment_many
from thinkseg.cli.declare import argument, command, flag, option, path, text
from thinkseg.cli.output_options import OutputOptions
from thinkseg.cli.window_options import WindowOptions
from thinkseg.console import Progress, say
from thinkseg.errors import SettingsError, one_line
from thinkseg.report.formats import FORMATS

if TYPE_CHECKING:
    from thinkseg.data.readers.frame_rates import FrameTimes
    from thinkseg.data.readers.video_window import Window
    from thinkseg.segmenter.questions import Question
    from thinkseg.types import Frames, Segmentation, Tracker

app = typer.Typer()


@command(app, "segment what a sentence means in a video, or in many")
def segment(
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    out: options.Out,
    part: WindowOptions,
    output: OutputOptions,
    video: Annotated[
        Path | None,
        argument(path, "VIDEO", "a video file, a folder of images (.jpg, .png, ...), or a folder of videos"),
    ] = None,
    more: Annotated[
        list[str] | None, argument(str, "QUERY", "what to segment; or, with --query or --queries, more videos")
    ] = None,
    queries: Annotated[
        list[str] | None, option(text, "TEXT", "a query about each VIDEO; repeat it for more queries", "--query")
    ] = None,
    file: Annotated[
        Path | None,
        option(path, "FILE", "queries, and also their videos and ids, as .csv or .jsonl", "--queries"),
    ] = None,
    keyframe: Annotated[
        int | float | None, option(parsers.moment, "T", "frame that the boxes are on: a time (2.4s) or an index (57)")
    ] = None,
    boxes: Annotated[
        list[parsers.Box] | None,
        option(parsers.box, "x1,y1,x2,y2", "a box on the keyframe, in pixels; repeat it for more objects", "--box"),
    ] = None,
    fps: options.Fps = None,
    dry_run: Annotated[bool, flag("--dry-run", "list what would be done, and load no model")] = False,
) -> int:
    """Answers QUERY about VIDEO and writes answer.json, masks.json and the formats of --save to --out.

    The bundled policies know colored shapes alone: for any other video, choose models. `thinkseg models` lists presets,
    such as small and quality, and `thinkseg models use small` makes one the default.

    With --query or --queries, or for a folder of videos, all queries about all videos are answered: the result of each
    in a folder of its own in --out, and index.csv lists them. Rerun, the command resumes.

    With --keyframe and --box, the tracker follows these boxes, and no policy is loaded.

    The status is 1 if a reply could not be used, or one of many videos could not be read; answer.json or index.csv has
    the reason.
    """
    videos, query = _videos_and_query(video, more or [], bool(queries or file))
    formats = output.formats()
    with output.streams():
        models, asking = models.chosen(asking)
        if questions := _many(videos, query, queries or [], file):
            if keyframe is not None or boxes:
                raise SettingsError("--keyframe and --box are about one video; give one, without --query and --queries")
            return segment_many(Job(questions, out, models, asking, output, formats, part.window(), fps), dry_run)
        if part.max_side and boxes:
            raise SettingsError("--max-side: not together with --box, which is in pixels of the source; drop one")
        source = Source(videos[0], fps, part.window())
        if dry_run:
            source.open()
            say(f"to do: {source.path}: {query or 'the boxes given'}, into {out}")
            return 0
        return _segment_one(source, query, models, asking, out, output, keyframe, boxes or [], formats)


def _videos_and_query(video: Path | None, more: Sequence[str], has_queries: bool) -> tuple[list[Path], str | None]:
    """Returns the videos, and the query if it stands behind the only video."""
    if not all(map(str.strip, more[:1] if not has_queries else more)):
        raise SettingsError("VIDEO or QUERY: '' is empty; say what to segment")
    if has_queries:
        return [*([video] if video else []), *map(Path, more)], None
    if video is None:
        raise SettingsError("VIDEO: is missing; give a video, or --queries with a file that names videos")
    if len(more) > 1:
        raise SettingsError(
            f"unexpected {more[1]!r}; put a text of several words in quotes, and queries about many videos in --query"
        )
    return [video], more[0] if more else None


def _many(videos: Sequence[Path], query: str | None, queries: Sequence[str], file: Path | None) -> list[Question]:
    """Returns the questions if there may be many; none for a single query about a single video."""
    from thinkseg.segmenter.questions import expanded, questions_about

    if queries or file:
        return questions_about(videos, queries, file)
    if not os.path.isdir(videos[0]) or expanded(videos[0]) == videos:
        return []
    if query is None:
        raise SettingsError(f"QUERY: is missing; say what to segment in the videos of {videos[0]}")
    return questions_about(videos, [query])


@dataclass(frozen=True, slots=True)
class Source:
    """The video that one query is about. fps: of frames without times. window: the part that is used."""

    path: Path
    fps: float | None
    window: Window

    def open(self) -> tuple[Frames, FrameTimes]:
        """Opens the video. Raises VideoError or SettingsError."""
        from thinkseg.data.readers.frame_rates import Rates
        from thinkseg.ops.video import open_video

        rates = Rates(self.fps)
        opened = open_video(self.path)
        return self.window.of(rates.timed(opened)), rates.times_of(opened)


def _segment_one(
    source: Source,
    query: str | None,
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    out: Path,
    output: OutputOptions,
    keyframe: int | float | None,
    boxes: Sequence[parsers.Box],
    formats: Sequence[str],
) -> int:
    """Writes one result to the folder `out` itself."""
    from thinkseg.report.result_files import ANSWER, COMMAND, format_result, write_files
    from thinkseg.storage.result_folder import result_folder

    with Progress() as progress, result_folder(out, COMMAND, source.path) as folder:

        def load_tracker() -> Tracker:
            progress.show(f"loading {models.tracker}")
            # With one query, nothing computed from the frames is used again.
            return models.load_tracker(asking.chain, **asking.placement(), feature_cache_bytes=0)

        if keyframe is None and not boxes:
            result, settings = _answer(source, query, models, asking, load_tracker, progress)
        else:
            result, settings = _track(source, query, keyframe, boxes, load_tracker, progress)
        progress.show("writing")
        left_out = write_files(result, folder, settings, progress, formats)
    if output.json:
        print((out / ANSWER).read_text("utf-8"), end="")
    if output.text:
        print(format_result(result))
        if output.verbose:
            print(format_seconds(result.seconds, progress.seconds))
        say(f"wrote {out}")
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for name, error in left_out.items():
        print(one_line(f"{FORMATS[name].file} is missing: {error}"), file=sys.stderr)
    return FAILED if result.failure else 0


def _answer(
    source: Source,
    query: str | None,
    models: model_options.ModelOptions,
    asking: model_options.PolicyOptions,
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Prompts the policy and tracks its boxes. Checks its arguments before it loads the policy."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.pipeline import segment_sample
    from thinkseg.types import VideoSample

    if query is None:
        raise SettingsError("QUERY: is missing; say what to segment, or give --keyframe and --box to track a box")
    query, chain = checked_query(query), asking.chain_function()
    video, times = source.open()
    models.check_times(asking, times)
    tracker = load_tracker()
    policy = models.load_policy(asking.chain, progress, **asking.settings())
    view = times.decide(asking.view(policy))
    progress.show("prompting and tracking")
    sample = VideoSample(id=source.path.name, video=video, query=query)
    result = segment_sample(sample, chain, policy, tracker, view, progress, asking.reading)
    return result, asking.record(policy, tracker, view)


def _track(
    source: Source,
    query: str | None,
    moment: int | float | None,
    given: Sequence[parsers.Box],
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Tracks boxes given by the user."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.models.devices import device_of
    from thinkseg.ops.inputs import boxes_in_frame, frame_at
    from thinkseg.pipeline import track_boxes
    from thinkseg.types import VideoSample

    if moment is None or not given:
        raise SettingsError("to track a box, both are needed: --keyframe, and --box once per object")
    query = "" if query is None else checked_query(query)
    video, _ = source.open()
    keyframe = frame_at(video, moment)
    boxes, notes = boxes_in_frame(given, video.size_wh)
    tracker = load_tracker()
    for note in notes:
        progress.note(note)
    progress.show("tracking")
    sample = VideoSample(id=source.path.name, video=video, query=query)
    result = track_boxes(sample, keyframe, boxes, tracker, progress)
    return result, {"policy": None, "tracker": tracker.name, "device": device_of(tracker)}
