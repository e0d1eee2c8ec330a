"""Every exception ThinkSeg raises on purpose.

    ThinkSegError                 catch this one to catch them all
    ├── VideoError                a video or a folder of frames cannot be read or written
    ├── DatasetError              a data set's tree or one of its files is not as documented
    ├── AnswerError               a model's reply is not what its prompt asked for (carries a countable reason)
    ├── ModelError                a policy or a tracker cannot be loaded or run
    └── SettingsError             an argument, a recipe or an output path cannot be used

A message says what is wrong, where, and what to do about it. Anything else that escapes is a bug.
"""


class ThinkSegError(Exception):
    """Base of all errors a user can cause and mend."""


class VideoError(ThinkSegError):
    """A video or a folder of frames cannot be read or written."""


class DatasetError(ThinkSegError):
    """A data set's tree, or one of its files, is not as documented."""


class AnswerError(ThinkSegError):
    """A model's reply is not what its prompt asked for.

    reason: one of the short, fixed words listed in `thinkseg.chains.parsing.REASONS`, so that failures can be counted.
    keyframe: the frame an earlier reply of the same dialogue chose, an index into the whole video; None if none did.
    unasked: turns of the dialogue that can no longer be asked for want of this reply.
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
    """An argument, a recipe or an output path cannot be used."""
