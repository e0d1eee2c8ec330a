"""What a request may cost, and how one that cannot be answered is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold, and how many there may be.

    body_bytes: of the request as sent; 16 frames of 560x560 in PNG are up to 20 MB. body_seconds: for sending it.
    pictures, side, pixels: their number, the longest side of any, and the area of all of them together.
    characters: of all texts together. samples: the largest n. tokens: the largest max_tokens.
    requests: that are answered or wait for it at once; more are told to come back later.
    """

    body_bytes: int = 64 << 20
    body_seconds: float = 60.0
    pictures: int = 128
    side: int = 4_096
    pixels: int = 50_000_000
    characters: int = 100_000
    samples: int = 16
    tokens: int = 8_192
    requests: int = 32


class RefusedError(Exception):
    """A request that is not answered.

    status: of HTTP. code: a short word for programs, None if the message is all. param: the field it is about.
    wait: seconds after which it may be asked again.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None, wait: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.wait = wait
