"""How far a scoring is, as a line: rows in, words for `console.Progress` out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from thinkseg.console import Progress


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
