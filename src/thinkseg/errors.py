"""The exceptions of ThinkSeg.

    ThinkSegError                 base class
    ├── VideoError                a video or a folder of frames cannot be read or written
    ├── DatasetError              a data set or one of its files is invalid
    ├── AnswerError               a policy's reply is invalid; has a reason that can be counted
    ├── ModelError                a policy or a tracker cannot be loaded or run
    └── SettingsError             an argument, a recipe or an output path is invalid

Messages state where and what is wrong, and what to do, on one line of bounded length, whatever the values in them.
Any other exception is a bug.
"""

MAX_MESSAGE_CHARS = 2000
"""Longer messages lose their middle."""


class ThinkSegError(Exception):
    """Base class of all errors that a user can fix. `str` returns one printable line, see `one_line`."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Returns a text on one line of at most `limit` printable characters; the middle of a longer one is left out.

    Line breaks become spaces, other characters that a terminal does not show become escapes.
    """
    if len(text) > limit:
        half = (limit - 5) // 2
        text = f"{text[:half]} ... {text[-half:]}"
    if text.isprintable():
        return text
    line = " ".join(text.splitlines())
    return one_line("".join(char if char.isprintable() else repr(char)[1:-1] for char in line), limit)


class VideoError(ThinkSegError):
    """A video or a folder of frames cannot be read or written."""


class DatasetError(ThinkSegError):
    """A data set or one of its files is invalid."""


class AnswerError(ThinkSegError):
    """A policy's reply is invalid.

    reason: a key of `thinkseg.chains.parsing.REASONS`.
    keyframe: the frame that the dialogue chose before the error, an index into the video; None without one.
    num_unasked_turns: turns that the dialogue lacks because of this error.
    """

    def __init__(
        self, reason: str, detail: str = "", *, keyframe: int | None = None, num_unasked_turns: int = 0
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.keyframe = keyframe
        self.num_unasked_turns = num_unasked_turns


class ModelError(ThinkSegError):
    """A policy or a tracker cannot be loaded or run."""


class SettingsError(ThinkSegError):
    """An argument, a recipe or an output path is invalid."""
