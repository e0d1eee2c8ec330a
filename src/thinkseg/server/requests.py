"""A request of the reward service, and the outcome of the replies in it.

The outcome is that of the chain itself: it runs over blank frames with the labels in the request, because the replies
are known and parsing needs no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from thinkseg.chains import CHAINS
from thinkseg.chains.frames import select_frames
from thinkseg.errors import ModelError, ThinkSegError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.rewards import checked_weights
from thinkseg.types import MAX_SIDE, Chain, Coordinates, Outcome, VideoSample, View
from thinkseg.web.errors import RequestError

MAX_FRAMES = 1_024
"""Frames shown in one request."""

MAX_INDEX = 10_000_000
"""Of a frame in its video."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]
Name = Annotated[str, Field(min_length=1, max_length=1_000)]


class ScoreRequest(BaseModel):
    """The replies of one dialogue, with what its ground truth in an export says about the question.

    dataset, id: the question. indices: frames shown, strictly ascending. labels: those of the frames in the prompt.
    frame_wh: size of the frames on which boxes are predicted. source_wh: size of the video.
    replies: of all turns. weights: by name of `thinkseg.rewards.REWARDS`; a reward without one is not computed.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    dataset: Name
    id: Name
    chain: Literal["veason", "revseg"]
    indices: Annotated[list[Annotated[int, Field(ge=0, le=MAX_INDEX)]], Field(min_length=1, max_length=MAX_FRAMES)]
    labels: Annotated[list[str], Field(max_length=MAX_FRAMES)]
    frame_wh: Size
    source_wh: Annotated[list[int], Field(min_length=2, max_length=2)]
    coordinates: Coordinates
    replies: Annotated[list[str], Field(min_length=1, max_length=8)]
    weights: dict[str, float]

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            checked_weights(self.weights)
            shown = select_frames(self.video, self.view, self.indices)
        except ThinkSegError as error:
            raise ValueError(str(error)) from None
        if shown.labels != tuple(self.labels):
            raise ValueError("labels: must be the times or the numbers of the frames at indices, as in an export")
        return self

    @property
    def view(self) -> View:
        """The view of the prompt. Only its box size counts: the frames are blank."""
        width, height = self.frame_wh
        return View(
            num_frames=len(self.indices),
            frame_wh=(width, height),
            coordinates=self.coordinates,
            label_unit="seconds" if any("." in label for label in self.labels) else "index",
            closeup_wh=(width, height),
        )

    @property
    def video(self) -> BlankFrames:
        """A video with the size and the times of the one shown. Raises ValueError for labels that are no numbers."""
        times = map(float, self.labels)
        return BlankFrames(self.source_wh, self.frame_wh, dict(zip(self.indices, times, strict=True)))


class BlankFrames:
    """A video without content: black frames of the size shown, whatever the size of the video.

    times: of some frames, in seconds since the first one, by index. Satisfies `thinkseg.types.Frames`.
    """

    name = "blank"
    fps: float | None = None

    def __init__(self, size_wh: Sequence[int], shown_wh: Sequence[int], times: dict[int, float]) -> None:
        self.size_wh = (size_wh[0], size_wh[1])
        self._times = {0: 0.0, **times}
        # One byte, whatever the size.
        self._frame = np.broadcast_to(np.uint8(0), (shown_wh[1], shown_wh[0], 3))

    def __len__(self) -> int:
        return max(self._times) + 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self._frame

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (self._frame for _ in indices)

    def time_of(self, index: int) -> float | None:
        return self._times[index]


def outcome_of(asked: ScoreRequest) -> Outcome:
    """Returns what the replies of a request say. Invalid ones are data; replies after the dialogue's end are ignored.

    Raises RequestError if the dialogue has more turns than there are replies.
    """
    chain: Callable[..., Chain] = CHAINS[asked.chain]
    dialogue = chain(VideoSample(asked.id, asked.video, query="the query"), asked.view, indices=asked.indices)
    try:
        (outcome,) = run_chains([dialogue], ScriptedPolicy(asked.replies, view=asked.view))
    except ModelError:
        message = f"replies: the dialogue goes on after {len(asked.replies)}; send the replies of all turns"
        raise RequestError(422, message) from None
    return outcome
