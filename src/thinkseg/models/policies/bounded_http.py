"""An HTTP client for servers that are not trusted: responses are bounded in time and size, redirects are not followed.

Imported on use: it needs the package openai, whose clients send their requests with it.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import httpx2
import openai

BODY: ContextVar[list[bytearray] | None] = ContextVar("BODY", default=None)
"""Where a task finds the body of its response while that arrives: the last item, one for each time it was requested."""

_HEADERS_OF_ENCODED_BODY = ("content-encoding", "content-length", "transfer-encoding")


class BoundedHttpClient(openai.DefaultAsyncHttpxClient):
    """Sends requests and reads the complete responses.

    timeout: seconds for one request from its start to the last byte of the response, however slowly bytes arrive.
    max_bytes: bytes of a body, decompressed, that are kept; one that is longer is cut off within 64 MB after them.
    A redirect is returned as it is, because another host must receive neither the key nor the frames.
    """

    def __init__(self, timeout: float, max_bytes: int) -> None:
        super().__init__(timeout=timeout, follow_redirects=False)
        self._seconds = timeout
        self._max_bytes = max_bytes

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Returns the response to a request. Raises ReadTimeout, like a server that does not respond."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._read(await super().send(request, stream=True, **options))
        except TimeoutError:
            raise httpx2.ReadTimeout("the response is not complete", request=request) from None

    async def _read(self, response: httpx2.Response) -> httpx2.Response:
        """Returns the response with the start of its body."""
        body = bytearray()
        if (bodies := BODY.get()) is not None:
            bodies.append(body)
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_bytes:
                    break
        finally:
            await response.aclose()
        headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _HEADERS_OF_ENCODED_BODY]
        read = httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)
        read.elapsed = response.elapsed
        return read
