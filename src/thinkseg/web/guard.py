"""What the services refuse by the headers of a request, and bodies that are too large or arrive too slowly."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from urllib.parse import urlsplit

from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from thinkseg.web.errors import error_response

IDLE_SECONDS = 20.0
"""A body of which nothing arrives for so long is refused."""

MIN_BYTES_PER_SECOND = 16 << 10
"""Slower bodies are refused, after `IDLE_SECONDS`."""


def refuse_host(headers: Headers) -> Response | None:
    """Returns the response to a request without a token for another Host than this machine.

    Such a request comes from a web page whose site is resolved to this machine.
    """
    if is_this_machine(headers.get("host", "")):
        return None
    return error_response(403, "Host: is not this machine; use the address that the command prints")


def refuse_body(headers: Headers, max_bytes: int) -> Response | None:
    """Returns the response to a request with a body of unknown length or of more bytes."""
    if "transfer-encoding" in headers:
        return error_response(411, "the request must have a Content-Length")
    if int(headers.get("content-length", 0)) > max_bytes:
        return error_response(413, f"the request has more than {max_bytes:,} bytes")
    return None


def is_this_machine(host: str) -> bool:
    """Whether a Host header, with or without a port, names the machine of the server."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class PatientBody:
    """Receives a body up to a limit of bytes. Raises HTTPException for one that is larger, or arrives too slowly."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive, self._max_bytes = receive, max_bytes
        self._started, self._received, self._complete = time.monotonic(), 0, False

    async def __call__(self) -> Message:
        """Receives a part of the body. Satisfies ASGI."""
        if self._complete:  # waits for the client to leave
            return await self._receive()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing of the body arrived for {IDLE_SECONDS:g} seconds") from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        self._check()
        return message

    def _check(self) -> None:
        if self._received > self._max_bytes:
            raise HTTPException(413, f"the request has more than {self._max_bytes:,} bytes")
        late = time.monotonic() - self._started - IDLE_SECONDS
        if not self._complete and late > 0 and self._received < late * MIN_BYTES_PER_SECOND:
            raise HTTPException(408, f"the body arrives with less than {MIN_BYTES_PER_SECOND:,} bytes per second")
