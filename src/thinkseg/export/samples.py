"""Samples in the form that all formats share.

Turns come from the chains and replies from `thinkseg.demonstrations`, so a model that was trained elsewhere is prompted
and answers like one that was trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from thinkseg.chains.frames import Shown, checked_query
from thinkseg.chains.parsing import Choice, write_boxes, write_choice
from thinkseg.chains.revseg import ask_when, ask_where
from thinkseg.chains.veason import ask
from thinkseg.errors import SettingsError
from thinkseg.export.images import ImageWriter
from thinkseg.rewards import Prompt
from thinkseg.types import Dialogue, Turn, View

PLACEHOLDER = "<image>"
"""Stands for an image in the text of a turn."""

DESCRIPTION = "{description}"
"""Stands for the description of the first reply in the text of the second turn."""


class SkipSampleError(Exception):
    """A question cannot be exported. Its argument is the reason: one of a few phrases, so that they can be counted."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportSample:
    """One question as the dialogue of a chain.

    dialogue: the first turn at least; the true replies and second turn if replies are exported.
    images: files of the images of each turn, in order.
    truth: see `ground_truth`; None if unknown.
    closeups, closeup_text: the second turn of a dialogue for RL: an image file per frame shown, and the text with
        `PLACEHOLDER` for the image and `DESCRIPTION` for the description of the first reply. Empty otherwise.
    """

    id: str
    query: str
    category: str
    dialogue: Dialogue
    images: tuple[tuple[str, ...], ...]
    truth: dict[str, Any] | None
    closeups: tuple[str, ...] = ()
    closeup_text: str = ""

    @property
    def turns(self) -> list[Turn]:
        return [part for part in self.dialogue if isinstance(part, Turn)]


@dataclass(frozen=True, slots=True, eq=False)
class ExportSettings:
    """How samples are made. for_sft, for_rl: see `Format`. opening: see `thinkseg.models.policies.families.Traits`."""

    chain: str
    view: View
    images: ImageWriter
    for_sft: bool
    for_rl: bool
    opening: str = ""

    @property
    def first_view(self) -> View:
        """The view of the first turn."""
        return self.view.overview if self.chain == "revseg" else self.view


TrueBoxes = Callable[[Shown], np.ndarray]
"""Returns the boxes of the targets on a single frame, (N, 4) xyxy in pixels of the source."""

ShowFrames = Callable[[View, Sequence[int]], tuple[Shown, list[np.ndarray]]]
"""Shows frames of a video, see `chains.frames.show`."""


class TrueReplies(Protocol):
    """The true replies to one question. Both methods raise SkipSampleError if there is none."""

    def reply(self, shown: Shown) -> str:
        """Returns the only reply of the chain veason."""
        ...

    def choice(self, shown: Shown) -> tuple[Choice, TrueBoxes]:
        """Returns the content of both replies of the chain revseg."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExportVideo:
    """The video of a question. name: of its image files. show: shows frames of it."""

    name: str
    show: ShowFrames


def query_or_skip(query: str) -> str:
    """Returns the query as a chain prompts it. Raises SkipSampleError if it is invalid."""
    try:
        return checked_query(query)
    except SettingsError:
        raise SkipSampleError("invalid query") from None


def write_or_skip(write: Callable[..., str], *content: Any) -> str:
    """Calls a write function of `chains.parsing`. Raises SkipSampleError if its reply would not parse back."""
    try:
        return write(*content)
    except ValueError:
        raise SkipSampleError("answer not expressible") from None


def build_dialogue(
    query: str, video: ExportVideo, indices: Sequence[int], replies: TrueReplies | None, settings: ExportSettings
) -> tuple[Dialogue, tuple[tuple[str, ...], ...], Shown]:
    """Returns the dialogue about frames of a video, the image files of each turn, and the record of the first turn.

    replies: None for the first turn only. Raises SkipSampleError if there is no true reply.
    """
    shown, images = video.show(settings.first_view, indices)
    files = (settings.images.write(video.name, shown.indices, images),)
    if settings.chain == "veason":
        turn = ask(query, shown, images, settings.view)
        return ((turn,) if replies is None else (turn, replies.reply(shown))), files, shown
    turn = ask_when(query, shown, images, settings.view)
    if replies is None:
        return (turn,), files, shown
    choice, true_boxes = replies.choice(shown)
    first = (turn, write_or_skip(write_choice, choice, shown))
    if choice.keyframe is None:
        return first, files, shown
    frame, (image,) = video.show(settings.view.closeup, [choice.keyframe])
    turn = ask_where(choice.description, frame, image, settings.view)
    second = (turn, write_or_skip(write_boxes, true_boxes(frame), frame))
    return first + second, (*files, settings.images.write(video.name, frame.indices, [image])), shown


def second_turn(video: ExportVideo, shown: Shown, settings: ExportSettings) -> tuple[tuple[str, ...], str]:
    """Returns the `closeups` and `closeup_text` of a sample."""
    frames, images = video.show(settings.view.closeup, shown.indices)
    text = turn_text(ask_where(DESCRIPTION, frames, images[0], settings.view))
    return settings.images.write(video.name, frames.indices, images), text


def turn_text(turn: Turn) -> str:
    """Returns the text of a turn with `PLACEHOLDER` for each image and no separators, as in a chat template."""
    return "".join(part if isinstance(part, str) else PLACEHOLDER for part in turn.content)


def ground_truth(dataset: str, prompt: Prompt, shown: Shown, settings: ExportSettings) -> dict[str, Any]:
    """Returns the ground truth of a prompt that has one, in the format of thinkseg_rewards.py: plain JSON values.

    dataset: the data set and split of the prompt, as `thinkseg reward-server` names them.
    """
    assert prompt.sample.truth is not None
    box_view = settings.view.closeup if settings.chain == "revseg" else settings.view
    return {
        "dataset": dataset,
        "id": prompt.sample.id,
        "chain": settings.chain,
        "labels": list(shown.labels),
        "indices": list(shown.indices),
        "frame_wh": list(box_view.frame_wh),
        "source_wh": list(shown.source_wh),
        "coordinates": shown.coordinates,
        "has_target": prompt.sample.truth.num_objects > 0,
        "areas": [prompt.areas[frame] for frame in shown.indices],
        "boxes": [prompt.boxes[frame].tolist() for frame in shown.indices],
        **({"opening": settings.opening} if settings.opening else {}),
    }
