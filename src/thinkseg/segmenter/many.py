"""Answers many questions about many videos: each video is decoded once for its questions, ahead of the work."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat

from thinkseg.data.readers.frame_cache import decoded_ahead
from thinkseg.data.readers.frame_rates import FrameTimes, Rates
from thinkseg.errors import ThinkSegError, VideoError
from thinkseg.types import Frames, Segmentation, VideoSample

BATCH_SIZE = 8
"""Questions about a video that a policy is prompted with at a time. It encodes their frames once."""

Ask = Callable[[Sequence[VideoSample], FrameTimes], Iterator[Segmentation]]
"""Answers questions about one video, given what is known about the times of its frames."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video and the queries about it. open: opens it, on another thread. name: default is that of the frames."""

    open: Callable[[], Frames]
    queries: Sequence[str]
    name: str | None = None


def answer_clips(clips: Sequence[Clip], ask: Ask) -> Generator[Segmentation | ThinkSegError, None, None]:
    """Yields the answer to each query in order, or why its video cannot be used.

    The questions about a video share its frames, which are decoded while those about the video before are answered.
    Raises what `ask` raises, except for a VideoError.
    """
    with closing(decoded_ahead([clip.open for clip in clips])) as videos:
        for clip, video in zip(clips, videos, strict=True):
            try:
                frames = video.result()
            except ThinkSegError as error:
                yield from repeat(error, len(clip.queries))
            else:
                yield from _answers(clip, frames, ask)


def _answers(clip: Clip, frames: Frames, ask: Ask) -> Iterator[Segmentation | ThinkSegError]:
    samples = [VideoSample(clip.name or frames.name, frames, query) for query in clip.queries]
    answers = ask(samples, Rates().times_of(frames))
    for done in range(len(samples)):
        try:
            yield next(answers)
        except VideoError as error:
            yield from repeat(error, len(samples) - done)
            return
