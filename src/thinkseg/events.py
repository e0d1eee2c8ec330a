"""What happens while a question is answered, for a page or a terminal that shows it as it happens.

A listener is a function that takes one `Event`; `thinkseg.Segmenter` and `thinkseg.pipeline` take it as `on_event`. The
events of a question come in the order below; those from `TurnStarted` to `ReplyFinished` once per turn. Results are the
same with and without a listener.

An exception that a listener raises cancels the question: between two layers of a model that reads a prompt, two tokens,
or two tracked frames; the stream of a served model is closed. It reaches the caller unchanged, and policy and tracker
can be used again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thinkseg.types import Outcome, ProgressCallback, Reply, Segmentation, Turn


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The policy is prompted. number: of the turn, from 0. turn: its texts, and its frames with their labels."""

    number: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class Waiting:
    """The policy is at work. It is repeated, so that a listener can cancel: before each linear layer of a local model
    that reads a prompt, and every 0.1 s by a served model.

    done, total: layers that have read the prompt; 0 of 0 if unknown, as of a served model.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ReplyText:
    """A reply continues. A policy that does not stream has one text, the complete reply.

    text: one or more complete characters. restarts: the text before is void, because a server was asked again or the
        text was put into the form of a reply; `text` is the reply from its start.
    """

    text: str
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """A reply is complete: all texts since the last restart are its text."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Answered:
    """The dialogue has ended. outcome: keyframe and boxes, that there is no target, or why the reply is invalid."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tracked:
    """The tracker has masks of `done` of `total` frames, each counted again for objects that it tracks on their own."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The masks of all frames are known."""

    segmentation: Segmentation


Event = TurnStarted | Waiting | ReplyText | ReplyFinished | Answered | Tracked | Finished

OnEvent = Callable[[Event], None]
"""A listener. It is called on the thread that asked the question."""


def no_listener(event: Event) -> None:
    """Ignores an event."""


def tracking(on_event: OnEvent, progress: ProgressCallback | None) -> ProgressCallback:
    """Returns a callback of a tracker that calls a listener, and also `progress`."""

    def both(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)
        on_event(Tracked(done, total))

    return both
