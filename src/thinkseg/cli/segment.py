"""`thinkseg segment`: one video and one question in, a folder with the answer and its masks out."""

from __future__ import annotations

import argparse
import time
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.cli import options
from thinkseg.console import Progress
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.types import Frames, Segmentation, Tracker

UNUSABLE = 1
"""Exit status when the model's reply could not be used."""


def add_to(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "segment",
        help="segment what a sentence means in a video",
        description="Answers QUERY about VIDEO and writes answer.json, masks/, masks.json and overlay.mp4 to --out. "
        "With --keyframe and --box the tracker follows the boxes given and no model is asked.",
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of .jpg or .png frames")
    parser.add_argument("query", metavar="QUERY", nargs="?", help="what to segment, e.g. 'the one that gets hit'")
    options.add_models(parser)
    options.add_asking(parser)
    parser.add_argument(
        "--keyframe", type=options.moment, metavar="T", help="frame the boxes are on: a time (2.4s) or an index (57)"
    )
    parser.add_argument(
        "--box",
        type=options.box,
        action="append",
        default=[],
        dest="boxes",
        metavar="x1,y1,x2,y2",
        help="a box on the keyframe in pixels; repeat it for several objects",
    )
    options.add_out(parser)
    parser.set_defaults(run=segment)


def segment(arguments: argparse.Namespace) -> int:
    """Segments one video. The status is 1 if the reply could not be used, which answer.json then explains."""
    from thinkseg.report.result_files import describe, write_result
    from thinkseg.storage.atomic import check_out

    check_out(arguments.out)
    by_hand = arguments.keyframe is not None or bool(arguments.boxes)
    with Progress() as progress:
        result, settings = (_follow if by_hand else _answer)(arguments, progress)
        progress.say("writing")
        write_result(result, arguments.out, settings, progress)
    print(describe(result))
    print(f"wrote {arguments.out}")
    return UNUSABLE if result.failure else 0


def _answer(arguments: argparse.Namespace, progress: Progress) -> tuple[Segmentation, dict[str, Any]]:
    """Asks the policy and follows its boxes. What is cheap to check is checked before the policy is loaded."""
    from thinkseg.chains import get_chain
    from thinkseg.chains.frames import checked_query
    from thinkseg.ops.video import open_video
    from thinkseg.pipeline import segment_sample
    from thinkseg.types import VideoSample

    if arguments.query is None:
        raise SettingsError("there is no query: say what to segment, or give --keyframe and --box to follow a box")
    query, chain = checked_query(arguments.query), get_chain(arguments.chain)
    video = open_video(arguments.video)
    tracker = _load_tracker(arguments, progress)
    policy = options.load_policy(arguments, progress, **options.running(arguments))
    view = options.view_of(arguments, policy)
    settings = {
        "policy": policy.name,
        "tracker": tracker.name,
        "chain": arguments.chain,
        "frames": view.num_frames,
        "frame_size": list(view.frame_wh),
        "overview_size": list(view.overview.frame_wh),
        "closeup_size": list(view.closeup.frame_wh),
        **options.running(arguments),
    }
    progress.say("thinking and tracking")
    sample = VideoSample(id=Path(arguments.video).name, video=video, query=query)
    return segment_sample(sample, chain, policy, tracker, view, progress), settings


def _follow(arguments: argparse.Namespace, progress: Progress) -> tuple[Segmentation, dict[str, Any]]:
    """Follows boxes given by hand."""
    import numpy as np

    from thinkseg.chains.frames import checked_query
    from thinkseg.ops.boxes import clip
    from thinkseg.ops.video import open_video
    from thinkseg.types import Answer, Outcome, Segmentation, VideoSample

    if arguments.keyframe is None or not arguments.boxes:
        raise SettingsError("to follow a box, both are needed: --keyframe, and --box once for each object")
    query = "" if arguments.query is None else checked_query(arguments.query)
    video = open_video(arguments.video)
    keyframe = frame_at(video, arguments.keyframe)
    width, height = video.size_wh
    boxes = clip(np.array(arguments.boxes, np.float32), video.size_wh)
    for given, (x1, y1, x2, y2) in zip(arguments.boxes, boxes, strict=True):
        if x1 >= x2 or y1 >= y2:
            text = ",".join(f"{side:g}" for side in given)
            raise SettingsError(f"box {text} lies outside the frame of {width}x{height} pixels; give one inside it")
    tracker = _load_tracker(arguments, progress)
    progress.say("tracking")
    started = time.perf_counter()
    masklets = tracker.track(video, keyframe, boxes, progress)
    result = Segmentation(
        sample=VideoSample(id=Path(arguments.video).name, video=video, query=query),
        outcome=Outcome(Answer("", keyframe, boxes), failure=None, dialogue=(), keyframe=keyframe),
        masklets=masklets,
        tracker_seconds=time.perf_counter() - started,
    )
    return result, {"policy": None, "tracker": tracker.name}


def _load_tracker(arguments: argparse.Namespace, progress: Progress) -> Tracker:
    """The tracker, for one question: there is no other that could use what it makes of the frames."""
    progress.say(f"loading {arguments.tracker}")
    return options.load_tracker(arguments, keep_bytes=0)


def frame_at(video: Frames, moment: int | float) -> int:
    """Index of the frame meant: an int is one, a float is a time in seconds, whose nearest frame is taken.

    Raises SettingsError, naming the length, for what is beyond the end, and for times where frames have none.
    """
    last = len(video) - 1
    end = video.time_of(last)
    if isinstance(moment, int):
        if moment > last:
            raise SettingsError(f"keyframe {moment} is beyond the end: {video.name} has frames 0 to {last}")
        return moment
    if end is None:
        raise SettingsError(f"{video.name} has no times: give --keyframe as a frame index, 0 to {last}")
    # The last frame is shown for as long as the others.
    length = end + (1 / video.fps if video.fps else 0.0)
    if moment > length:
        raise SettingsError(f"keyframe {moment:g}s is beyond the end: {video.name} is {length:.2f} s long")
    return _nearest(video, moment)


def _nearest(video: Frames, seconds: float) -> int:
    def time_of(index: int) -> float:
        return video.time_of(index) or 0.0

    after = bisect_left(range(len(video)), seconds, key=time_of)
    near = [index for index in (after - 1, after) if 0 <= index < len(video)]
    return min(near, key=lambda index: abs(time_of(index) - seconds))
