"""The exceptions of ThinkSeg.

    ThinkSegError                 base class
    ├── VideoError                a video or a folder of frames cannot be read or written
    ├── DatasetError              a data set or one of its files is invalid
    ├── AnswerError               a policy's reply is invalid; has a reason that can be counted
    ├── ModelError                a policy or a tracker cannot be loaded or run
    └── SettingsError             an argument, a recipe or an output path is invalid

Messages state where and what is wrong, and what to do. Any other exception is a bug.
"""


class ThinkSegError(Exception):
    """Base class of all errors that a user can fix."""


class VideoError(ThinkSegError):
    """A video or a folder of frames cannot be read or written."""


class DatasetError(ThinkSegError):
    """A data set or one of its files is invalid."""


class AnswerError(ThinkSegError):
    """A policy's reply is invalid.

    reason: a key of `thinkseg.chains.parsing.REASONS`.
    keyframe: the frame that an earlier reply of the dialogue chose, an index into the video; None without one.
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
