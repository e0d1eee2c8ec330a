"""What a command says while it works: one line on a terminal that is overwritten, and nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

REDRAW_SECONDS = 0.1
"""Least time between two drawings of the line; more would slow the work it reports on."""


class Progress:
    """A line on standard error that says what is being done and how far it is; gone once the work is over.

        with Progress() as progress:
            progress.say("loading the policy")
            progress.say("tracking")
            tracker.track(video, keyframe, boxes, progress)

    It is a `thinkseg.types.Progress`: called with (done, total), where a total of 0 means that it is not known.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._doing = ""
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._draw("")

    def say(self, doing: str) -> None:
        """Names the next step."""
        self._doing = doing
        self._draw(f"{doing} ...")

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done != total and now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._draw(f"{self._doing} {done}/{total}" if total else f"{self._doing} {done}")

    def _draw(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            # Return to the first column, write, and erase what is left of the longer line before.
            sys.stderr.write(f"\r{text[:width]}\x1b[K")
            sys.stderr.flush()
