"""Questions as every format takes them: what is asked and what is known of it in, a `Question` out.

Words come from the chains, and replies from what our own training teaches, so that a model that was trained elsewhere
is asked, and answers, as one of ours.
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

PLACEHOLDERS = ("<image>", "<video>", "<audio>")
"""What other trainers put pictures in the place of. Nothing that is said may hold one: there is no picture for it."""

DESCRIPTION = "{description}"
"""What stands in a second turn for the words of the first reply."""


class SkipSampleError(Exception):
    """A question is of no use to a format. Its argument is why, in words that can be counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One question in the words of its chain.

    dialogue: what is said, the first turn at least; with the true replies where those are known.
    pictures: files of the images of each turn, in reading order.
    truth: what an answer is judged by (`truth.ground_truth`); None if it is not known.
    closeups, where: of a dialogue in two turns, what the second one shows and says: a file for each frame shown, and a
        text in which `DESCRIPTION` stands for what the first reply describes. Nothing where no policy is to try.
    """

    id: str
    query: str
    category: str
    dialogue: Dialogue
    pictures: tuple[tuple[str, ...], ...]
    truth: dict[str, Any] | None
    closeups: tuple[str, ...] = ()
    where: str = ""

    @property
    def turns(self) -> list[Turn]:
        return [part for part in self.dialogue if isinstance(part, Turn)]


@dataclass(frozen=True, slots=True, eq=False)
class ExportSettings:
    """How questions are asked, and what of them is wanted; see `Format` for `replies` and `prompts`."""

    chain: str
    view: View
    gallery: ImageWriter
    replies: bool
    prompts: bool

    @property
    def first_view(self) -> View:
        """How the sampled frames are shown."""
        return self.view.overview if self.chain == "revseg" else self.view


Locate = Callable[[Shown], np.ndarray]
"""From the record of a frame that is shown alone to the boxes on it, (N, 4) xyxy in pixels of the source."""

Look = Callable[[View, Sequence[int]], tuple[Shown, list[np.ndarray]]]
"""Shows frames of a video, see `chains.frames.show`."""


class TrueReplies(Protocol):
    """The true replies to one question. Raises LeftOutError if there are none."""

    def reply(self, shown: Shown) -> str:
        """All in one turn."""
        ...

    def choice(self, shown: Shown) -> tuple[Choice, Locate]:
        """The frame, and how boxes on it are found."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """The video of a question. name: what its pictures are kept under. look: shows frames of it."""

    name: str
    look: Look


def checked_words(query: str) -> str:
    """A question as it is asked. Raises LeftOutError if no chain takes it."""
    try:
        return checked_query(query)
    except SettingsError:
        raise SkipSampleError("words that cannot be asked") from None


def check_placeholders(question: Question) -> None:
    """Raises LeftOutError if something that is said holds what stands for a picture."""
    texts = [text for part in question.dialogue for text in ([part] if isinstance(part, str) else part.content)]
    if any(placeholder in text for text in texts if isinstance(text, str) for placeholder in PLACEHOLDERS):
        raise SkipSampleError(f"words that hold one of {' '.join(PLACEHOLDERS)}")


def written(write: Callable[..., str], *what: Any) -> str:
    """A reply as one of the functions of `chains.parsing` writes it. Raises LeftOutError if it would not read back."""
    try:
        return write(*what)
    except ValueError:
        raise SkipSampleError("a true reply that cannot be written") from None


def dialogue_of(
    query: str, video: Video, indices: Sequence[int], told: TrueReplies | None, asking: ExportSettings
) -> tuple[Dialogue, tuple[tuple[str, ...], ...], Shown]:
    """What is said about frames of a video, the files of each turn's images, and the record of the first turn.

    told: None asks without answering. Raises LeftOutError if no true reply can be written.
    """
    shown, images = video.look(asking.first_view, indices)
    pictures = (asking.gallery.keep(video.name, shown.indices, images),)
    if asking.chain == "veason":
        turn = ask(query, shown, images)
        return ((turn,) if told is None else (turn, told.reply(shown))), pictures, shown
    turn = ask_when(query, shown, images)
    if told is None:
        return (turn,), pictures, shown
    choice, locate = told.choice(shown)
    first = (turn, written(write_choice, choice, shown))
    if choice.keyframe is None:
        return first, pictures, shown
    frame, (image,) = video.look(asking.view.closeup, [choice.keyframe])
    second = (ask_where(choice.description, frame, image), written(write_boxes, locate(frame), frame))
    return first + second, (*pictures, asking.gallery.keep(video.name, frame.indices, [image])), shown


def second_turn(video: Video, shown: Shown, asking: ExportSettings) -> tuple[tuple[str, ...], str]:
    """The `closeups` and `where` of a `Question`."""
    frames, images = video.look(asking.view.closeup, shown.indices)
    where = ask_where(DESCRIPTION, frames, images[0]).content[-1]
    assert isinstance(where, str)  # the frame comes first, then what to find in it
    return asking.gallery.keep(video.name, frames.indices, images), where


def ground_truth(prompt: Prompt, shown: Shown, asking: ExportSettings) -> dict[str, Any]:
    """What an answer is judged by, as thinkseg_rewards.py reads it: plain JSON values. The truth must be known."""
    assert prompt.sample.truth is not None
    drawn_on = asking.view.closeup if asking.chain == "revseg" else asking.view
    return {
        "chain": asking.chain,
        "labels": list(shown.labels),
        "indices": list(shown.indices),
        "frame_wh": list(drawn_on.frame_wh),
        "source_wh": list(shown.source_wh),
        "coordinates": shown.coordinates,
        "target": prompt.sample.truth.num_objects > 0,
        "areas": [prompt.areas[frame] for frame in shown.indices],
        "boxes": [prompt.boxes[frame].tolist() for frame in shown.indices],
    }
