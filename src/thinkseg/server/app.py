"""HTTP around a desk: routes, who may ask, and errors in the shape that clients of OpenAI's API expect."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, asynccontextmanager
from threading import Event
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from thinkseg.errors import ModelError
from thinkseg.server.desk import Answerer, Desk, LeftError
from thinkseg.server.limits import Limits, RefusedError
from thinkseg.server.requests import Asked, read_request
from thinkseg.server.responses import DONE, Wording, event, finish, models, refusal
from thinkseg.types import Reply

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]+)?")
"""What a client calls the server: a name or an address, and perhaps a port."""

LOOK_SECONDS = 0.5
"""How often it is looked whether a client is still there."""


def create_app(
    policy: Answerer,
    name: str,
    limits: Limits | None = None,
    key: str | None = None,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The application.

    name: what the model is called. key: what clients must send, if anything. hosts: the names under which it answers,
    any if None; a page in a browser that reaches for a server on its machine does so under a name of its own.
    """
    limits = limits or Limits()
    desk = Desk(policy, limits.requests)
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    # The pages about the API would load their scripts from elsewhere.
    app = FastAPI(title="thinkseg", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def listing(request: Request) -> dict[str, Any]:
        check_caller(request, key, hosts)
        return models(name, policy, started)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(request: Request) -> Response:
        check_caller(request, key, hosts)
        return await _Conversation(request, desk, name, limits).response()

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        headers = {"Retry-After": str(error.wait)} if error.wait else None
        return JSONResponse(refusal(error), error.status, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return await refused(request, RefusedError(str(error.detail), status=error.status_code))

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:
        # The traceback goes to the server's own output.
        return await refused(request, RefusedError("the server failed; its own output says why", status=500))

    return app


def check_caller(request: Request, key: str | None, hosts: Collection[str] | None) -> None:
    """Raises RefusedError for those who may not ask."""
    called = _HOST.fullmatch(request.headers.get("host", ""))
    if hosts is not None and (not called or called[1].strip("[]").lower() not in hosts):
        raise RefusedError(f"this server answers as {' or '.join(sorted(hosts))} alone", status=403)
    given = request.headers.get("authorization", "")
    if key is not None and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise RefusedError("the API key is missing or wrong", status=401, code="invalid_api_key")


class _Conversation:
    """One request for a completion, from its first byte to the last one of its answer."""

    def __init__(self, request: Request, desk: Desk, name: str, limits: Limits) -> None:
        self._request = request
        self._desk = desk
        self._name = name
        self._limits = limits
        self._wording = Wording(name)

    async def response(self) -> Response:
        with ExitStack() as held:
            # Taken before the body is read, which bounds what all bodies take up in memory.
            gone = held.enter_context(self._desk.place())
            body = await self._body()
            multiple = self._desk.policy.size_multiple
            asked = await asyncio.to_thread(read_request, body, self._name, multiple, self._limits)
            if asked.stream:
                return _HeldStream(self._events(asked, gone), held.pop_all())
            return JSONResponse(self._wording.completion(await self._replies(asked, gone)))

    async def _body(self) -> bytes:
        """The body, no more of which is read than there may be."""
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError("the content type is application/json", status=415)
        most = self._limits.body_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in self._request.stream():
                    body += chunk
                    if len(body) > most:
                        raise RefusedError(f"the body is larger than {most:,} bytes", status=413)
        except TimeoutError:
            raise RefusedError("the body takes too long to arrive", status=408) from None
        except ClientDisconnect:
            raise RefusedError("the body is incomplete") from None
        return bytes(body)

    async def _replies(self, asked: Asked, gone: Event) -> list[Reply]:
        """The answers, unless the client leaves before they are there."""
        answering = self._desk.ask(asked, gone)
        while not answering.done():
            await asyncio.wait([answering], timeout=LOOK_SECONDS)
            if await self._request.is_disconnected():
                gone.set()
        return _result(answering)

    async def _events(self, asked: Asked, gone: Event) -> AsyncIterator[bytes]:
        """The answers as they are written. What goes wrong on the way is an event too: the status is long sent."""
        pieces: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hear(number: int, text: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, (number, text))

        answering = self._desk.ask(asked, gone, hear)
        answering.add_done_callback(lambda _: pieces.put_nowait(None))
        told = [0] * asked.samples
        for index in range(asked.samples):
            yield self._wording.piece(index, {"role": "assistant", "content": ""})
        while (piece := await pieces.get()) is not None:
            index, text = piece
            told[index] += len(text)
            yield self._wording.piece(index, {"content": text})
        try:
            replies = _result(answering)
        except RefusedError as error:
            yield event(refusal(error))
            return
        for index, reply in enumerate(replies):
            if rest := reply.text[told[index] :]:
                yield self._wording.piece(index, {"content": rest})
            yield self._wording.piece(index, {}, finish(reply))
        if asked.with_usage:
            yield self._wording.bill(replies)
        yield DONE


def _result(answering: asyncio.Future[list[Reply]]) -> list[Reply]:
    """The answers that are there. Raises RefusedError if there are none."""
    try:
        return answering.result()
    except ModelError as error:
        raise RefusedError(str(error), status=500) from None
    except LeftError:
        raise RefusedError("the server is closing", status=503) from None


class _HeldStream(StreamingResponse):
    """Streams events, and lets go of what is held once that is over, however it ends."""

    def __init__(self, events: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, *connection: Any) -> None:
        with self._held:
            await super().__call__(*connection)
