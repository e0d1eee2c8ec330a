"""Output for people: tables as plain text, and progress: a line on a terminal, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from thinkseg.errors import one_line

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_SECONDS = 0.1
"""Least time between two drawings of the line; more would slow the work it reports on."""

LOG_SECONDS = 30.0
"""Least time between two lines of progress if standard error is not a terminal."""

UNLIMITED = 10_000
"""Width in columns at which no table is folded."""


class Progress:
    """The current step and its progress, on standard error.

        with Progress() as progress:
            progress.show("loading the policy")
            progress.show("tracking")
            tracker.track(video, keyframe, boxes, progress)

    As a `thinkseg.types.ProgressCallback`, it is called with (done, total); a total of 0 is unknown. A terminal shows
    one line, which is removed on exit; print to standard output only outside of the block. If standard error is not a
    terminal, work of more than `LOG_SECONDS` writes a plain line now and then, and one at the end.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._step, self._shown, self._started = "", "", time.monotonic()
        self._seconds: dict[str, float] = {}
        self._drawn = 0.0
        self._time_left = TimeLeft(0)
        self._text, self._logged_text = "", ""
        self._logged = time.monotonic()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as a new one: a worker process shows nothing on our line."""
        return Progress, ()

    def __enter__(self) -> Progress:
        self._logged = time.monotonic()
        if sys.stderr.isatty():
            self._live = _live_line()
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
            self._live = None
        elif self._logged_text and self._text != self._logged_text:
            self._log()

    def show(self, step: str, detail: str = "") -> None:
        """Shows the current step. detail: which one of several of this name."""
        self._seconds = self.seconds
        self._started = time.monotonic()
        self._step, self._time_left = step, TimeLeft(0)
        self._shown = f"{step} {detail}".strip()
        self._draw(f"{self._shown} ...")

    @property
    def seconds(self) -> dict[str, float]:
        """The wall time of each step so far."""
        passed = {self._step: self._seconds.get(self._step, 0.0) + time.monotonic() - self._started}
        return self._seconds | passed if self._step else {}

    def note(self, text: str) -> None:
        """Writes a line that stays."""
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(f"thinkseg: {text}"), soft_wrap=True)
        else:
            warn(text)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._time_left.total != total:
            self._time_left = TimeLeft(total)
        time_left = self._time_left(done) if total else None
        if done != total and now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        count = f"{self._shown} {done}/{total}" if total else f"{self._shown} {done}"
        self._draw(", ".join(filter(None, (count, time_left))))

    def _draw(self, text: str) -> None:
        self._text = text
        if self._live:
            from rich.text import Text

            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._logged >= LOG_SECONDS:
            self._log()

    def _log(self) -> None:
        self._logged, self._logged_text = time.monotonic(), self._text
        self.note(self._text)


def _live_line() -> Live:
    from rich.console import Console
    from rich.live import Live

    # Without a thread that redraws, which worker processes would be forked from, and leaving standard output alone.
    return Live(
        console=Console(stderr=True, highlight=False),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def say(text: str) -> None:
    """Prints one line to standard output, in which a path cannot control a terminal."""
    print(one_line(text))


def warn(text: str) -> None:
    """Prints a line to standard error."""
    print(f"thinkseg: {text}", file=sys.stderr, flush=True)


class TimeLeft:
    """Estimates how long the remaining rows take, from the time of those done so far.

    total: number of all rows. Rows done before the first call, or within the first second, are from an earlier run, and
    are not counted.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._started = time.monotonic()
        self._early: int | None = None

    def __call__(self, done: int) -> str | None:
        """E.g. "7 min left"; None if unknown. done: number of rows done."""
        passed = time.monotonic() - self._started
        if passed < 1:
            self._early = done
        elif self._early is None:
            self._early = done - 1
        if done <= self._early or done >= self.total:
            return None
        return f"{duration(passed * (self.total - done) / (done - self._early))} left"


class Meter:
    """Shows the number of rows done, their mean J&F and the time left. total: number of all rows."""

    def __init__(self, progress: Progress, total: int, step: str = "evaluating") -> None:
        self._progress = progress
        self._total = total
        self._step = step
        self._time_left = TimeLeft(total)
        self._sum, self._counted = 0.0, 0

    def __call__(self, row: Mapping[str, Any], done: int) -> None:
        """Adds a row. done: number of rows done, with this one."""
        if row["has_target"] and row["j"] is not None:
            self._sum += (row["j"] + row["f"]) / 2
            self._counted += 1
        score = f"J&F {100 * self._sum / self._counted:.1f}" if self._counted else None
        parts = (f"{self._step} {done}/{self._total}", score, self._time_left(done))
        self._progress.show(", ".join(filter(None, parts)))


def duration(seconds: float) -> str:
    """A duration to about two digits, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = (), stored: bool = False
) -> str:
    """A table as plain text.

    numbers: indices of columns that are aligned right. On a terminal, long cells are wrapped between words to fit it,
    unless the table is stored as well. Elsewhere each row is one line. No word is ever broken or shortened.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(color_system=None, highlight=False)
    # Categories and names come from files, and could hold what controls a terminal.
    rows = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = _column_widths(rows, console.width if console.is_terminal and not stored else UNLIMITED)
    console.width = UNLIMITED
    # Cells are `Text`: a question may contain square brackets, which are markup in a str.
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for position, width in enumerate(widths):
        drawn.add_column(justify="right" if position in numbers else "left", width=width)
    for row in rows:
        drawn.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _column_widths(rows: Sequence[Sequence[str]], limit: int) -> list[int]:
    """Returns the widths of columns, two apart, that fit a limit, but are not narrower than their longest words."""
    from rich.cells import cell_len

    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > limit and widths != least:
        widest = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
        widths[widest] -= 1
    return widths
