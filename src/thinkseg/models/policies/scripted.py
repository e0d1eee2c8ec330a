"""The fake policy: says what it is told to say, and remembers what it was asked.

In: replies written beforehand, or a function from a dialogue to a reply. Out: a `thinkseg.types.Policy`, for tests and
for walking through a chain by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from thinkseg.errors import ModelError
from thinkseg.types import Coordinates, Dialogue, Reply, View


class ScriptedPolicy:
    """A policy that follows a script.

    replies: said one after another, or a function that answers a dialogue. A `Reply` instead of a string also says how
        long it was and whether it was cut off.
    dialogues: everything it was asked, in order.
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
        self._answer = replies if callable(replies) else _reader(replies)

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers each dialogue in order. Raises ModelError when the script has run out."""
        said = []
        for dialogue in dialogues:
            self.dialogues.append(dialogue)
            line = self._answer(dialogue)
            said.append(Reply(line, num_tokens=len(line.split())) if isinstance(line, str) else line)
        return said

    def clear(self) -> None:
        """Does nothing: a script caches nothing."""


def _reader(replies: Iterable[str | Reply]) -> Callable[[Dialogue], str | Reply]:
    """A function that gives the next line of a script whatever it is asked."""
    lines = list(replies)
    waiting = iter(lines)

    def read(_: Dialogue) -> str | Reply:
        line = next(waiting, None)
        if line is None:
            raise ModelError(f"the script has run out: it holds {len(lines)} replies and one more was asked for")
        return line

    return read
