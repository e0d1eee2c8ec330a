"""What a command says while it works: one line on a terminal that is overwritten, and nothing anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

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


class Meter:
    """Says how many rows are known, the J&F so far, and how long the rest will take.

    total: rows there will be. Rows known before the first second has passed are taken to be from an earlier run, and
    tell nothing of how long others take.
    """

    def __init__(self, progress: Progress, total: int, doing: str = "evaluating") -> None:
        self._progress = progress
        self._total = total
        self._doing = doing
        self._started = time.monotonic()
        self._early = 0
        self._sum, self._counted = 0.0, 0

    def __call__(self, row: Mapping[str, Any], done: int) -> None:
        """A row, and how many are known with it."""
        passed = time.monotonic() - self._started
        if row["target"] and row["j"] is not None:
            self._sum += (row["j"] + row["f"]) / 2
            self._counted += 1
        if passed < 1:
            self._early = done
        words = [f"{self._doing} {done}/{self._total}"]
        if self._counted:
            words.append(f"J&F {100 * self._sum / self._counted:.1f}")
        if done > self._early:
            words.append(f"{duration(passed * (self._total - done) / (done - self._early))} left")
        self._progress.say(", ".join(words))


def duration(seconds: float) -> str:
    """A time in words, to two figures or so."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


WIDE = 10_000
"""Columns of what is no terminal."""


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """A table as text, meant for standard output. numbers: columns whose cells end below one another."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A cell is text and no markup: a question may hold square brackets.
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        drawn.add_column(Text(head), justify="right" if position in numbers else "left", overflow="fold")
    for line in lines:
        drawn.add_row(*map(Text, line))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
