"""Bodies of requests, received up to a limit of bytes, and no slower than a client has to be."""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

IDLE_SECONDS = 20.0
"""A body of which nothing arrives for so long is refused."""

MIN_BYTES_PER_SECOND = 16 << 10
"""Slower bodies are refused, after `IDLE_SECONDS`."""


class PatientExchange:
    """The messages of a request and its response, as ASGI has them.

    `receive` raises HTTPException (413, 408) for a body that is larger than `max_bytes`, or arrives too slowly. A
    response that has started can be no error any more: its client counts as gone.
    """

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive, self._send, self._max_bytes = receive, send, max_bytes
        self._waited, self._received = 0.0, 0
        self._is_complete = self._is_answered = False

    async def send(self, message: Message) -> None:
        """Sends a message of the response."""
        self._is_answered = True
        await self._send(message)

    async def receive(self) -> Message:
        """Receives a message of the request."""
        if self._is_complete:  # waits for the client to leave
            return await self._receive()
        try:
            return await self._next()
        except HTTPException:
            if self._is_answered:
                return {"type": "http.disconnect"}
            raise

    async def _next(self) -> Message:
        started = time.monotonic()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing of the body arrived for {IDLE_SECONDS:g} seconds") from None
        self._waited += time.monotonic() - started  # a body that waits for the application is not slow
        self._received += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        self._check()
        return message

    def _check(self) -> None:
        if self._received > self._max_bytes:
            raise HTTPException(413, f"the request has more than {self._max_bytes:,} bytes")
        late = self._waited - IDLE_SECONDS
        if not self._is_complete and late > 0 and self._received < late * MIN_BYTES_PER_SECOND:
            raise HTTPException(408, f"the body arrives with less than {MIN_BYTES_PER_SECOND:,} bytes per second")
