"""Client of a server with OpenAI's chat completions API.

Requests run concurrently, up to a limit. The openai package retries what may succeed later; this module also retries a
response that is not a chat completion. A refusal of the model is a reply. A server that cannot be used raises
ModelError.

The key comes from the environment: THINKSEG_API_KEY is sent to any server, OPENAI_API_KEY only to OpenAI's own, so that
it does not leak to another. It is in no repr, message, log or reply, also if a server repeats it.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.chat_format import (
    MAX_BODY_BYTES,
    MalformedReplyError,
    server_message,
)
from thinkseg.models.policies.chat_stream import STREAMING, parse_stream, text_so_far
from thinkseg.types import Reply, ReplyListener

T = TypeVar("T")

Request = Callable[[], dict[str, Any]]
"""Makes the fields of a chat completion."""

KEY, OPENAI_KEY = "THINKSEG_API_KEY", "OPENAI_API_KEY"
OPENAI_HOST = "api.openai.com"

MIN_SECRET_CHARS = 6
"""A shorter key, such as "EMPTY", is no secret, and replies may contain the same text by chance."""

MAX_MESSAGE_CHARS = 200
"""Length of a server's message in an error."""

FILTERED = frozenset({"content_filter", "content_policy_violation"})
"""Error codes of a content filter, which is a refusal and not a failure of the server."""

CHECK_RETRIES = 2
"""Retries of the first request: a wrong address is reported soon."""

MALFORMED_DELAY = 0.5
"""Seconds before a request is repeated whose response was not a chat completion."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How requests are sent.

    concurrency: requests in flight. timeout: seconds to wait for a complete response. max_retries: of one request;
    the waits between them follow the server's Retry-After header, or else grow from 0.5 to 8 s.
    Raises SettingsError for values out of range.
    """

    concurrency: int = 16
    timeout: float = 600.0
    max_retries: int = 8

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.max_retries < 0 or not self.timeout > 0:
            raise SettingsError(f"{self}: concurrency must be >= 1, max_retries >= 0 and timeout > 0 seconds")


LISTENER_SECONDS = 0.1
"""Seconds between two calls of a listener, which also limits how long it takes to cancel."""


class ServerDownError(ModelError):
    """A server cannot be reached, does not respond in time or has failed; another server might reply."""


class ServerClient:
    """Client of the server at a base URL, to which paths like /chat/completions are appended. Connects on first use."""

    def __init__(self, base_url: str, settings: ClientSettings | None = None) -> None:
        self.base_url = base_url
        self.settings = settings or ClientSettings()
        self._key = key_for(base_url)
        self._client = _client(base_url, self._key, self.settings)
        self._slots = asyncio.Semaphore(self.settings.concurrency)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises ModelError for errors of the server or the connection: ServerDownError if another may reply."""
        import openai

        try:
            yield
        except (openai.OpenAIError, MalformedReplyError, UnicodeEncodeError) as error:
            is_down = isinstance(error, openai.APIConnectionError | openai.InternalServerError)
            raise (ServerDownError if is_down else ModelError)(f"{self.base_url}: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"no response within {self.settings.timeout:g} s{_retries(error)}"
        if isinstance(error, openai.APIConnectionError):
            return f"no connection: {self._quoted(str(error.__cause__ or error))}{_retries(error)}"
        if isinstance(error, MalformedReplyError):
            return f"the response is not a chat completion: {self._quoted(str(error))}"
        if not isinstance(error, openai.APIStatusError):
            return self._quoted(str(error))
        message = self._quoted(server_message(error.body)) or "without a reason"
        reason = f"status {error.status_code}: {message}{_retries(error)}"
        if error.status_code < 400:
            target = self._quoted(error.response.headers.get("location", ""))
            reason += f"; redirects are not followed: if you trust {target!r}, give the base URL there"
        if error.status_code in (401, 403):
            reason += f"; set {KEY} to a valid key ({OPENAI_KEY} is sent to {OPENAI_HOST} only)"
        return reason

    def _quoted(self, text: str) -> str:
        """The start of a server's message, on one line and without the key."""
        return self._without_key(" ".join(text.split()))[:MAX_MESSAGE_CHARS]

    def _without_key(self, text: str, min_chars: int = 1) -> str:
        """A text of the server without a key of `min_chars`, which it may repeat, also in a URL or an HTML page."""
        if not self._key or len(self._key) < min_chars:
            return text
        for form in {self._key, quote(self._key, safe=""), html.escape(self._key), self._key.replace("/", r"\/")}:
            text = text.replace(form, "(key)")
        return text


class ChatClient(ServerClient):
    """Client of chat completions, on an event loop of its own."""

    def __init__(self, base_url: str, settings: ClientSettings | None = None) -> None:
        super().__init__(base_url, settings)
        self._loop = EventLoop()
        weakref.finalize(self, self._loop.end, self._client.close)

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own server, which has renamed some fields of its API."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    def complete(self, requests: Sequence[Request], listener: ReplyListener | None = None) -> list[Reply]:
        """The replies to requests, in order.

        requests: each is called on another thread when a slot is free, so that few images are in memory at a time.
        listener: receives the replies while they arrive.
        Raises ModelError if one request fails; the others are cancelled.
        """
        if listener is None:
            return self._loop.run(gathered(self._reply(request) for request in requests))
        bodies: list[list[bytearray]] = [[] for _ in requests]
        work = gathered(self._reply(request, body) for request, body in zip(requests, bodies, strict=True))
        return self._loop.run(work, partial(self._pass_on, bodies, listener))

    def _pass_on(self, bodies: Sequence[Sequence[bytearray]], listener: ReplyListener) -> None:
        """Calls a listener with what has arrived. bodies: per request, those of all its responses."""
        listener.waiting(0, 0)
        for index, received in enumerate(bodies):
            if received:
                listener.text(index, self._without_key(text_so_far(bytes(received[-1])), MIN_SECRET_CHARS))

    def submit(self, request: Request) -> Future[Reply]:
        """Sends one request. Cancelling the future cancels the request."""
        return self._loop.start(self._reply(request))

    def check(self) -> str:
        """Requests the list of models, which is free, and returns it as text; "" from a server that has none.

        Raises ModelError if the server refuses or does not answer. Some gateways serve models that they do not list.
        """
        return self._loop.run(self._list())

    async def _reply(self, request: Request, bodies: list[bytearray] | None = None) -> Reply:
        """One reply. bodies: receives its responses while they arrive (default: the reply is not streamed)."""
        from thinkseg.models.policies.bounded_http import BODY

        async with self._slots:
            BODY.set(bodies)
            fields = await asyncio.to_thread(request)
            fields |= STREAMING if bodies is not None else {}
            with self._errors():
                for _ in range(self.settings.max_retries):
                    with suppress(MalformedReplyError):
                        return await self._request(fields)
                    await asyncio.sleep(MALFORMED_DELAY)
                return await self._request(fields)

    async def _request(self, fields: dict[str, Any]) -> Reply:
        """One reply, with the seconds that its last try took."""
        import openai

        try:
            response = await self._client.chat.completions.with_raw_response.create(**fields)
        except openai.BadRequestError as error:
            if error.code in FILTERED:
                text = self._quoted(server_message(error.body))
                return Reply(text, seconds=error.response.elapsed.total_seconds())
            if fields.keys().isdisjoint(STREAMING):
                raise
            # Some servers refuse to stream, or to count the tokens of a stream.
            return await self._request({name: value for name, value in fields.items() if name not in STREAMING})
        reply = parse_stream(response.content)
        text = self._without_key(reply.text, MIN_SECRET_CHARS)
        return replace(reply, text=text, seconds=response.elapsed.total_seconds())

    async def _list(self) -> str:
        import openai

        client = self._client.with_options(max_retries=min(CHECK_RETRIES, self.settings.max_retries))
        with self._errors():
            try:
                return self._without_key((await client.models.with_raw_response.list()).text)
            except openai.APIStatusError as error:
                # The list may be missing, or in another place.
                if error.status_code >= 400 and error.status_code != 404:
                    raise
        return ""


def _retries(error: Any) -> str:
    """How often the openai package has retried a request, as part of a message."""
    count = int(error.request.headers.get("x-stainless-retry-count", 0))
    return f" ({count} {'retry' if count == 1 else 'retries'})" if count else ""


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of coroutines in order. After a failure or an interruption, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class EventLoop:
    """An event loop on its own thread, so that the caller may have one too, as in a notebook."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: an interrupted program must not wait for requests in flight.
        threading.Thread(target=self._run, name="chat client", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], meanwhile: Callable[[], None] | None = None) -> T:
        """The result of a coroutine, which is cancelled if the caller is interrupted.

        meanwhile: called on this thread every `LISTENER_SECONDS`; an exception that it raises cancels the coroutine.
        """
        future = self.start(work)
        try:
            while meanwhile is not None and not wait([future], LISTENER_SECONDS).done:
                meanwhile()
            return future.result()
        finally:
            future.cancel()

    def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ends the thread after one last coroutine. Does not wait for it: the caller may be that thread."""
        done = self.start(last())
        done.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


def key_for(base_url: str) -> str | None:
    """The key to send to a server, from the environment; None if there is none.

    Raises SettingsError for a key with characters that no key has, or if the URL contains it.
    """
    parts = urlsplit(base_url)
    to_openai = parts.scheme == "https" and parts.hostname == OPENAI_HOST
    key = os.environ.get(KEY) or (os.environ.get(OPENAI_KEY) if to_openai else None)
    if key and not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{KEY}: the key has a space, a line break or a character outside ASCII; set it again")
    if key and len(key) >= MIN_SECRET_CHARS and key in base_url:
        raise SettingsError(f"a base URL must not contain the key, which {KEY} sets: remove it from the URL")
    return key or None


def _client(base_url: str, key: str | None, settings: ClientSettings) -> Any:
    try:
        import httpx2
        import openai

        from thinkseg.models.policies.bounded_http import BoundedHttpClient
    except ImportError:
        raise ModelError("served models need the package openai: pip install 'thinkseg[endpoint]'") from None
    # The package needs some key; servers without keys ignore it. The header is set too, because OPENAI_CUSTOM_HEADERS
    # in the environment would take precedence over `api_key`, and may hold the key of another server.
    key = key or "none"
    try:
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            timeout=settings.timeout,
            max_retries=settings.max_retries,
            http_client=BoundedHttpClient(settings.timeout, MAX_BODY_BYTES),
            default_headers={"Authorization": f"Bearer {key}"},
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:
        # Of the base URL, a proxy or a file of certificates.
        raise SettingsError(
            f"{base_url[:MAX_MESSAGE_CHARS]!r}: cannot connect: {' '.join(str(error).split())[:MAX_MESSAGE_CHARS]};"
            " check the base URL, and HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in the environment"
        ) from None
