"""`thinkseg segment`: the masks of what a sentence means in one video, or in many."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinkseg.cli import model_options, options
from thinkseg.cli.commands.videos.segment_many import FAILED, Job, format_seconds, segment_many
from thinkseg.cli.declare import argument, command, flag, option, path, text
from thinkseg.cli.output_options import OutputOptions
from thinkseg.cli.prompt_options import MARKS, PromptOptions
from thinkseg.cli.window_options import WindowOptions
from thinkseg.cli.worker_options import WorkerOptions
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
    marks: PromptOptions,
    output: OutputOptions,
    spreading: WorkerOptions,
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
    fps: options.Fps = None,
    dry_run: Annotated[bool, flag("--dry-run", "list what would be done, and load no model")] = False,
) -> int:
    """Answers QUERY about VIDEO and writes answer.json, masks.json and the formats of --save to --out.

    The bundled policies know colored shapes alone: for any other video, choose models. `thinkseg models` lists presets,
    such as small and quality, and `thinkseg models use small` makes one the default.

    With --query or --queries, or for a folder of videos, all queries about all videos are answered: the result of each
    in a folder of its own in --out, and index.csv lists them. Rerun, the command resumes.

    With --box, --point or --mask, the tracker follows what these mark, and no policy is loaded. With --fix, they
    correct an earlier result. See docs/by-hand.md.

    The status is 1 if a reply could not be used, or one of many videos could not be read; answer.json or index.csv has
    the reason.
    """
    videos, query = _videos_and_query(video, more or [], bool(queries or file))
    formats = output.formats()
    with output.streams():
        chosen, asking = models.chosen(asking)
        if questions := _many(videos, query, queries or [], file):
            if marks.given:
                raise SettingsError(f"{MARKS} are about one video; give one, without --query and --queries")
            placement = spreading.placement(asking.device, output.verbose)
            job = Job(questions, out, chosen, asking, output, formats, part.window(), fps, placement)
            return segment_many(job, dry_run)
        if spreading != WorkerOptions():
            raise SettingsError("--workers, --ray: share many questions; one needs none of them: drop them")
        if part.max_side and marks.given:
            raise SettingsError(f"--max-side: not together with {MARKS}, which are in pixels of the source; drop one")
        if marks.fix and part != WindowOptions():
            raise SettingsError(
                "--fix: takes the part of the video that the result has; drop --start, --end and --stride"
            )
        source = Source(videos[0], fps, part.window())
        if dry_run:
            source.open()
            say(f"to do: {source.path}: {query or 'what is marked'}, into {out}")
            return 0
        return _segment_one(source, query, chosen, asking, out, output, marks, formats)


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
    models: model_options.ChosenModels,
    asking: model_options.PolicyOptions,
    out: Path,
    output: OutputOptions,
    marks: PromptOptions,
    formats: Sequence[str],
) -> int:
    """Writes one result to the folder `out` itself."""
    from thinkseg.report.result_files import ANSWER, COMMAND, format_result, write_files
    from thinkseg.storage.result_folder import result_folder

    # Before the folder is opened, which may be that of the result.
    earlier = marks.earlier(source.path) if marks.given else None
    with Progress() as progress, result_folder(out, COMMAND, source.path) as folder:

        def load_tracker() -> Tracker:
            # With one query, nothing computed from the frames is used again.
            return models.load_tracker(progress, **asking.placement(), feature_cache_bytes=0)

        if marks.given:
            result, settings = _track(source, query, marks, earlier, load_tracker, progress)
        else:
            result, settings = _answer(source, query, models, asking, load_tracker, progress)
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
    models: model_options.ChosenModels,
    asking: model_options.PolicyOptions,
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Prompts the policy and tracks its boxes. Checks its arguments before it loads the policy."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.pipeline import segment_sample
    from thinkseg.types import VideoSample

    if query is None:
        raise SettingsError(
            "QUERY: is missing; say what to segment, or mark it with --keyframe and --box, --point or --mask"
        )
    query, chain = checked_query(query), asking.chain_function()
    video, times = source.open()
    models.check_times(asking, times)
    tracker = load_tracker()
    policy = models.load_policy(progress, **asking.settings())
    view = times.decide(asking.view(policy))
    progress.show("prompting and tracking")
    sample = VideoSample(id=source.path.name, video=video, query=query)
    result = segment_sample(sample, chain, policy, tracker, view, progress, asking.reading)
    return result, asking.record(policy, tracker, view)


def _track(
    source: Source,
    query: str | None,
    marks: PromptOptions,
    earlier: Segmentation | None,
    load_tracker: Callable[[], Tracker],
    progress: Progress,
) -> tuple[Segmentation, dict[str, Any]]:
    """Tracks what the user marks, alone or in correction of an earlier result."""
    from thinkseg.chains.frames import checked_query
    from thinkseg.models.devices import device_of
    from thinkseg.ops.inputs import checked_prompts
    from thinkseg.pipeline import track_prompts
    from thinkseg.segmenter.corrections import track_again
    from thinkseg.types import VideoSample

    sample = earlier.sample if earlier else VideoSample(source.path.name, source.open()[0], "")
    if query is not None:
        sample = replace(sample, query=checked_query(query))
    prompts, notes = checked_prompts(marks.prompts(sample.video, earlier), sample.video)
    tracker = load_tracker()
    for note in notes:
        progress.note(note)
    progress.show("tracking")
    used = {"tracker": tracker.name, "device": device_of(tracker)}
    if earlier is None:
        return track_prompts(sample, prompts, tracker, progress), {"policy": None, **used}
    result = track_again(replace(earlier, sample=sample), prompts, tracker, progress)
    return result, {**marks.earlier_settings(), **used}
