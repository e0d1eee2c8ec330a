"""A policy with predefined replies, for tests and for stepping through a chain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from thinkseg.errors import ModelError
from thinkseg.types import Coordinates, Dialogue, Reply, ReplyListener, View


class ScriptedPolicy:
    """A policy that replies from a script.

    replies: returned in order, or a function from a dialogue to a reply. A `Reply` instead of a string sets the token
        counts and truncation too.
    dialogues: all dialogues received, in order.
    """

    def __init__(
        self,
        replies: Iterable[str | Reply] | Callable[[Dialogue], str | Reply],
        *,
        name: str = "scripted",
        coordinates: Coordinates = "pixels",
        size_multiple: int = 1,
        view: View | None = None,
    ) -> None:
        self.name = name
        self.coordinates: Coordinates = coordinates
        self.size_multiple = size_multiple
        self.view = view or View(num_frames=6, frame_wh=(112, 112), coordinates=coordinates)
        self.dialogues: list[Dialogue] = []
        self._next = replies if callable(replies) else _in_order(replies)

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers each dialogue in order. Raises ModelError at the end of the script."""
        replies = []
        for dialogue in dialogues:
            self.dialogues.append(dialogue)
            reply = self._next(dialogue)
            replies.append(Reply(reply, num_tokens=len(reply.split())) if isinstance(reply, str) else reply)
        return replies

    def stream(
        self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None, listener: ReplyListener
    ) -> list[Reply]:
        """Answers like `reply`, and passes on each reply word by word."""
        replies = self.reply(dialogues, seeds)
        for index, reply in enumerate(replies):
            for word in re.finditer(r"\S+\s*", reply.text):
                listener.text(index, reply.text[: word.end()])
        return replies

    def clear(self) -> None:
        """Does nothing: a script caches nothing."""


def _in_order(replies: Iterable[str | Reply]) -> Callable[[Dialogue], str | Reply]:
    """A function that returns the next reply for any dialogue."""
    listed = list(replies)
    remaining = iter(listed)

    def next_reply(_: Dialogue) -> str | Reply:
        reply = next(remaining, None)
        if reply is None:
            raise ModelError(f"scripted policy: all {len(listed)} replies are used up; add a reply to the script")
        return reply

    return next_reply
