"""How long to wait for a server that cannot answer yet: what went wrong in, seconds out.

A server that refuses because it has too much to do is only helped if all that ask it hold back, so one refusal closes a
`Gate` that all requests pass. Waits grow from failure to failure and hold a random part, so that requests which failed
together do not come back together.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from thinkseg.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried and how long is waited in between.

    tries: in all, the first one included. first, longest: seconds before the second try, and at most before a later
    one. most_asked: the longest wait a server may ask for; more is a quota used up, which waiting does not mend.
    """

    tries: int = 6
    first: float = 1.0
    longest: float = 60.0
    most_asked: float = 300.0

    def __post_init__(self) -> None:
        if self.tries < 1 or not 0 <= self.first <= self.longest < math.inf:
            raise SettingsError("patience: at least 1 try, and waits of at least 0 seconds that do not shrink")

    def pause(self, failures: int, asked: float | None, chance: float) -> float:
        """Seconds to wait after so many failures (1, 2, ...), never fewer than the server asked for.

        chance: a random number from 0 to 1.
        """
        # A power so large that it would overflow is beyond the longest wait anyway.
        grown = min(self.longest, self.first * 2 ** min(failures - 1, 60))
        if asked is not None:
            return asked + chance * min(self.first, grown)
        return grown * (1 + chance) / 2


class Gate:
    """Holds back those who pass it, until its time has come."""

    def __init__(self) -> None:
        self._opens = 0.0

    def close(self, seconds: float) -> None:
        """Nobody passes for so long; an earlier, longer wait stays."""
        self._opens = max(self._opens, time.monotonic() + seconds)

    async def passed(self) -> None:
        """Returns once the gate is open."""
        while (left := self._opens - time.monotonic()) > 0:
            await asyncio.sleep(left)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait, by its headers `retry-after-ms` or `retry-after`; None if it does not say.

    headers: by lower-case names. The latter is a number of seconds or a date (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        # Dates that are none, and those that no clock of this machine can show.
        return None
