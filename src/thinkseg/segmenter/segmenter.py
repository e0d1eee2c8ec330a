"""Segmentation in Python: videos of any form and a query in, a `Result` out.

`Segmenter` loads a policy and a tracker once, for any number of calls; `segment` is one call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg import models
from thinkseg.chains import get_chain
from thinkseg.chains.frames import checked_query
from thinkseg.data.readers.frame_rates import FrameTimes, Rates
from thinkseg.data.readers.video_window import Window
from thinkseg.errors import SettingsError, ThinkSegError
from thinkseg.events import Event, Finished, OnEvent, no_listener, tracking
from thinkseg.models.choice import AUTO, Choice, choose
from thinkseg.pipeline import (
    changed_view,
    check_reading,
    check_view,
    resolve_clock,
    resolve_view,
    segment_samples,
    track_prompts,
)
from thinkseg.report.result import Result
from thinkseg.segmenter.corrections import corrected_prompts, prompts_of, track_again
from thinkseg.segmenter.latest_video import LatestVideo
from thinkseg.segmenter.many import BATCH_SIZE, Clip, answer_clips
from thinkseg.segmenter.questions import expanded
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.storage.user_settings import UserSettings
from thinkseg.types import (
    ChainFn,
    Clock,
    Frames,
    ObjectPrompt,
    Policy,
    ProgressCallback,
    Reading,
    Segmentation,
    Tracker,
    VideoSample,
    View,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL.Image import Image
    from torch import Tensor

    Video = str | Path | Frames | np.ndarray | Tensor | Sequence[str | Path | np.ndarray | Tensor | Image]


ALL = Window()
"""All frames of a video, as they are."""

FRAME_CACHE_BYTES = 1 << 30
"""Decoded frames of the latest video: 850 at 480p, 170 at 1080p."""

FEATURE_CACHE_BYTES = 512 << 20
"""Image features of a local policy, with their images: those of 50 frames of 560x560 of a model of 3 B parameters."""


class Segmenter:
    """A policy and a tracker, loaded when they are first needed and kept.

        segmenter = Segmenter(tracker="facebook/sam2.1-hiera-tiny", device="cuda")
        for query in ("the one that gets hit", "the one that hits it"):
            print(segmenter("clip.mp4", query))
        for result in segmenter.segment_many("clips", "the one that gets hit"):
            result.save(f"runs/{result.sample.id}")

    policy, tracker: an object, or a name or folder for `thinkseg.models`. What is not given is that of the preset; the
        tracker "auto" is flow, with a warning, if that of the preset is not downloaded.
    preset: a name that `thinkseg models` lists (default: the user's choice, see `thinkseg config`, else the bundled
        policy with the tracker flow).
    device: of models that are loaded, such as "cuda:1" (default: a GPU if there is one).
    frames: number of frames that the policy sees. view: number and size of them (default: the policy's own).
    chain: a name for `thinkseg.chains.get_chain`, or a function (default: that of the preset, else "veason").
    reading: "repair" also reads replies that are close to the form asked for, without guessing, and names what it
        repaired in `result.outcome.repairs`; "strict" reads the exact form only.
    frame_cache_bytes: decoded frames that are kept in memory, see below.
    tracker_settings: more arguments of `thinkseg.models.load_tracker`.

    A second question about the video of the call before, or other boxes on it, need not decode or encode its frames
    again. Kept of the latest video are frames that were read, up to `frame_cache_bytes`, image features of a local
    policy, up to 512 MB, and features of a SAM 2, up to its `feature_cache_bytes`. Two videos are the same if they are
    one object of open frames, or one path whose files have not changed in size or time, with the same window and fps.
    Arrays, tensors and lists of images are read again.

    Raises SettingsError for an invalid argument, and ModelError for a device that cannot be used.
    """

    def __init__(
        self,
        policy: str | Path | Policy | None = None,
        tracker: str | Path | Tracker = "auto",
        device: str | None = None,
        frames: int | None = None,
        *,
        chain: str | ChainFn | None = None,
        view: View | None = None,
        reading: Reading = "repair",
        preset: str | None = None,
        frame_cache_bytes: int = FRAME_CACHE_BYTES,
        **tracker_settings: Any,
    ) -> None:
        _check("preset", preset, preset is None or isinstance(preset, str))
        _check("policy", policy, policy is None or isinstance(policy, str | Path) or hasattr(policy, "reply"))
        _check("tracker", tracker, isinstance(tracker, str | Path) or hasattr(tracker, "track"))
        _check("chain", chain, chain is None or isinstance(chain, str) or callable(chain))
        _check("view", view, view is None or isinstance(view, View))
        for shown in (view, None if frames is None else View(frames, (1, 1))):
            if shown is not None:
                check_view(shown)
        check_reading(reading)
        choice = _chosen(preset, policy, tracker, chain)
        self._chain = chain if callable(chain) else get_chain(choice.chain_name())
        self._policy = choice.policy_name() if policy is None else policy
        self._tracker = choice.tracker_name() if tracker == AUTO else tracker
        self._tracker_settings = tracker_settings
        self._latest = LatestVideo(frame_cache_bytes)
        self._view, self._frames, self._reading = view, frames, reading
        self._view_settings: dict[str, Any] = {} if view else choice.view_settings()
        self._placement: dict[str, Any] = choice.placement() | ({} if device is None else {"device": _usable(device)})

    @cached_property
    def policy(self) -> Policy:
        """The policy, loaded on access."""
        name = self._policy
        if not isinstance(name, str | Path):
            return name
        feature_bytes = min(FEATURE_CACHE_BYTES, self._tracker_settings.get("feature_cache_bytes", FEATURE_CACHE_BYTES))
        return models.load_policy(name, feature_cache_bytes=feature_bytes, **self._placement)

    @cached_property
    def tracker(self) -> Tracker:
        """The tracker, loaded on access."""
        name, settings = self._tracker, {**self._placement, **self._tracker_settings}
        return models.load_tracker(name, **settings) if isinstance(name, str | Path) else name

    def share_loaded(self, other: Segmenter) -> None:
        """Takes over the latest video of another segmenter, and its loaded models where both would load the same."""
        self._latest = other._latest
        for role in ("policy", "tracker"):
            same = getattr(self, f"_{role}") == getattr(other, f"_{role}") and self._placement == other._placement
            if same and role in vars(other):
                setattr(self, role, getattr(other, role))

    def __call__(
        self,
        video: Video,
        query: str | None = None,
        progress: ProgressCallback | None = None,
        *,
        keyframe: int | float | None = None,
        boxes: ArrayLike | None = None,
        prompts: Sequence[ObjectPrompt] | None = None,
        fps: float | None = None,
        window: Window = ALL,
        on_event: OnEvent | None = None,
    ) -> Result:
        """Segments the targets of a query in a video. Arguments and errors are those of `segment`."""
        from thinkseg.ops.inputs import located_prompts

        by_hand = any(given is not None for given in (keyframe, boxes, prompts))
        text = "" if query is None and by_hand else checked_query(query)
        _check("progress", progress, progress is None or callable(progress))
        _check("on_event", on_event, on_event is None or callable(on_event))
        frames, times = self._latest.open(video, Rates(fps), window)
        sample = VideoSample(id=frames.name, video=frames, query=text)
        if by_hand:
            given = _box_prompts(keyframe, boxes) if prompts is None else prompts
            if prompts is not None and (keyframe is not None or boxes is not None):
                raise SettingsError("prompts: state their frames and boxes themselves; drop keyframe and boxes")
            checked = _checked(located_prompts(given, frames), frames)
            return self._follow(sample, checked, progress, on_event or no_listener)
        self._check_times(times)
        tell = (lambda _, event: on_event(event)) if on_event else None
        return Result.of(next(self._ask([sample], times, progress, tell)))

    def correct(
        self,
        result: Segmentation,
        prompts: Sequence[ObjectPrompt],
        drop: Sequence[int] = (),
        progress: ProgressCallback | None = None,
        *,
        video: Video | None = None,
    ) -> Result:
        """Tracks a result again, corrected by prompts; no policy is prompted, and the answer of one is kept.

        prompts: a box or a mask replaces what its object has on its frame, points alone are added to it, and a number
            after the last object is a new one. drop: objects, from 0, whose earlier prompts do not count; without new
            ones they are left out, and those after them move up. video: the complete video of the result, if it may be
            the latest one, which is not read again. Errors are those of `segment`.
        """
        from thinkseg.ops.inputs import located_prompts

        if video is not None:
            frames, _ = self._latest.open(video, Rates(None), ALL)
            result = replace(result, sample=replace(result.sample, video=frames))
        frames = result.sample.video
        new = located_prompts(prompts, frames) if prompts else []
        checked = _checked(corrected_prompts(prompts_of(result), new, drop), frames)
        return Result.of(track_again(result, checked, self.tracker, progress))

    def segment_many(
        self,
        videos: str | Path | Sequence[Video],
        queries: str | Sequence[str],
        progress: ProgressCallback | None = None,
        *,
        fps: float | None = None,
        window: Window = ALL,
        on_error: Callable[[Video, ThinkSegError], None] | None = None,
    ) -> Iterator[Result]:
        """Yields the result of each query about each video, in the order of the videos.

        A video is decoded once for all queries, while those about the one before are answered.

        videos: a folder of video files, or a sequence of videos, each in a form that `segment` takes.
        on_error: called with a video that cannot be used, once per query, which then has no result (default: its error
            is raised). The other arguments and errors are those of `segment`.
        """
        listed: list[Video] = list(expanded(Path(videos)) if isinstance(videos, str | Path) else videos)
        texts = [checked_query(query) for query in ([queries] if isinstance(queries, str) else queries)]
        rates = Rates(fps)
        clips = [Clip(partial(self._open, video, rates, window), texts) for video in listed]
        asked = [video for video in listed for _ in texts]
        return self._results(asked, answer_clips(clips, partial(self._ask, progress=progress)), on_error)

    def _results(
        self,
        videos: Sequence[Video],
        answers: Generator[Segmentation | ThinkSegError, None, None],
        on_error: Callable[[Video, ThinkSegError], None] | None,
    ) -> Iterator[Result]:
        with closing(answers):
            for video, answer in zip(videos, answers, strict=True):
                if isinstance(answer, Segmentation):
                    yield Result.of(answer)
                elif on_error is None:
                    raise answer
                else:
                    on_error(video, answer)

    def _open(self, video: Video, rates: Rates, window: Window) -> Frames:
        from thinkseg.ops.inputs import open_frames

        opened = open_frames(video)
        self._check_times(rates.times_of(opened))
        return window.of(rates.timed(opened))

    def _check_times(self, times: FrameTimes) -> None:
        """Raises SettingsError if the policy needs seconds and the times are unknown. Loads no weights."""
        name = str(getattr(self._policy, "name", self._policy))
        requested = self._view.label_unit if self._view else self._view_settings.get("label_unit", "auto")
        times.check(resolve_clock(name, self._clock, requested))

    def _ask(
        self,
        samples: Sequence[VideoSample],
        times: FrameTimes,
        progress: ProgressCallback | None,
        on_event: Callable[[VideoSample, Event], None] | None = None,
    ) -> Iterator[Segmentation]:
        """Prompts the policy, and tracks its boxes."""
        # The tracker is loaded first: it takes seconds, and a policy can take minutes.
        tracker, policy = self.tracker, self.policy
        view = times.decide(resolve_view(policy, self._requested_view(policy)))
        chain, reading = self._chain, self._reading
        return segment_samples(samples, chain, policy, tracker, view, BATCH_SIZE, progress, reading, on_event)

    def _requested_view(self, policy: Policy) -> View:
        """The view given, else that of the policy with what the preset sets."""
        preset = self._view_settings.get
        frames, prompts = self._frames or preset("frames"), preset("prompts")
        sizes = preset("frame_size"), preset("closeup_size")
        wording = read_prompts(prompts) if prompts else None
        return changed_view(self._view or policy.view, frames, *sizes, preset("label_unit"), wording)

    @cached_property
    def _clock(self) -> Clock:
        """The labels of frames that the policy expects; its weights are not loaded."""
        policy = self._policy
        return models.clock_of(str(policy)) if isinstance(policy, str | Path) else policy.view.label_unit

    def _follow(
        self,
        sample: VideoSample,
        prompts: Sequence[ObjectPrompt],
        progress: ProgressCallback | None,
        on_event: OnEvent,
    ) -> Result:
        """Tracks valid prompts that are given."""
        found = track_prompts(sample, prompts, self.tracker, tracking(on_event, progress))
        on_event(Finished(found))
        return Result.of(found)


def segment(
    video: Video,
    query: str | None = None,
    policy: str | Path | Policy | None = None,
    tracker: str | Path | Tracker = "auto",
    chain: str | ChainFn | None = None,
    view: View | None = None,
    progress: ProgressCallback | None = None,
    *,
    keyframe: int | float | None = None,
    boxes: ArrayLike | None = None,
    prompts: Sequence[ObjectPrompt] | None = None,
    reading: Reading = "repair",
    fps: float | None = None,
    preset: str | None = None,
    window: Window = ALL,
    on_event: OnEvent | None = None,
) -> Result:
    """Segments the targets of a query in a video; returns masks of every frame with the answer they come from.

    video: a file, a folder of images, open frames, an array or tensor, or a list of images; see
        `thinkseg.ops.inputs.open_frames`.
    policy, tracker, chain, view, reading, preset: see `Segmenter`, which keeps loaded models for further calls.
    progress: called with (done, total) frames while the target is tracked.
    keyframe, boxes: a frame index (int) or a time in seconds (float), and boxes on that frame, (N, 4) xyxy in pixels of
        the source frame. The tracker follows these, no policy is prompted, and the query may be None. A box that is
        partly outside is clipped, with a warning.
    prompts: `thinkseg.ObjectPrompt` instead of these: boxes, points and masks of each object on any frames.
    fps: frames per second of frames without times, such as arrays and folders (default: that of a file fps.json beside
        the frames). A policy that is trained on seconds needs one.
    window: the part of the video that is used. A keyframe is an index, and a time, of the complete video.
    on_event: called with what happens, such as each piece of the reply; see `thinkseg.events`, also for how to cancel.

    Raises SettingsError, VideoError, DatasetError (of fps.json) or ModelError, before models are loaded if possible. A
    reply that cannot be used is no error: see `Segmentation.failure`.
    """
    # There is no second query that could use cached features.
    settings: dict[str, Any] = {"chain": chain, "view": view, "reading": reading, "preset": preset}
    once = Segmenter(policy, tracker, **settings, frame_cache_bytes=0, feature_cache_bytes=0)
    given: dict[str, Any] = {"keyframe": keyframe, "boxes": boxes, "prompts": prompts}
    return once(video, query, progress, **given, fps=fps, window=window, on_event=on_event)


def _chosen(preset: str | None, policy: object, tracker: object, chain: object) -> Choice:
    """What holds where no object is given. Warns if the tracker is not that of the preset."""
    names = {"policy": policy, "tracker": None if tracker == AUTO else tracker}
    # The name of an object does not matter: it only stands for what is given.
    given: dict[str, Any] = {
        role: str(model) if isinstance(model, str | Path) else "object"
        for role, model in names.items()
        if model is not None
    }
    choice = choose(UserSettings(preset=preset, chain=chain if isinstance(chain, str) else None, **given))
    if choice.note:
        warnings.warn(choice.note, stacklevel=3)
    return choice


def _check(name: str, value: object, is_valid: bool) -> None:
    if not is_valid:
        raise SettingsError(f"{name}: {type(value).__name__} is not valid; see the documentation of thinkseg.Segmenter")


def _usable(device: str) -> str:
    from thinkseg.models.devices import resolve_device

    resolve_device(device)
    return device


def _box_prompts(keyframe: int | float | None, boxes: ArrayLike | None) -> list[ObjectPrompt]:
    """Boxes on one frame, one object each."""
    from thinkseg.ops.inputs import box_rows

    if keyframe is None or boxes is None:
        raise SettingsError("keyframe and boxes: to track boxes, give both")
    return [ObjectPrompt(keyframe, obj, box) for obj, box in enumerate(box_rows(boxes))]


def _checked(prompts: Sequence[ObjectPrompt], video: Frames) -> list[ObjectPrompt]:
    """Valid prompts, see `checked_prompts`. Warns of boxes that are clipped."""
    from thinkseg.ops.inputs import checked_prompts

    checked, notes = checked_prompts(prompts, video)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return checked
