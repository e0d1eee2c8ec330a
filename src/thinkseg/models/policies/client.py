"""A server that speaks OpenAI's API, asked until it answers: requests in, replies out.

Requests run at once, up to a limit; those that fail for a passing reason are tried again (see
`thinkseg.models.policies.client`). What a model says, a refusal included, is a reply; a server that cannot be used is a
ModelError.

The key comes from the environment: THINKSEG_API_KEY is sent to whatever server is named, OPENAI_API_KEY to OpenAI's own
alone, so that it does not leak to another. It is in no repr, message or log.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.chat_format import MalformedReplyError, read_completion, server_message
from thinkseg.types import Reply


@dataclass(frozen=True, slots=True)
class RetryPolicy:
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


class BackoffGate:
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


T = TypeVar("T")

KEY, OPENAI_KEY = "THINKSEG_API_KEY", "OPENAI_API_KEY"
OPENAI_HOST = "api.openai.com"

PASSING = frozenset({408, 409, 425, 429})
"""Statuses of refusals that may pass, as all from 500 on may."""

TOO_BUSY = frozenset({429, 503})
"""Statuses that say that others should hold back too."""

USED_UP = "insufficient_quota"
FILTERED = frozenset({"content_filter", "content_policy_violation"})
"""Codes of errors: money has run out, which no waiting mends; a filter has refused, which is an answer."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a server is asked.

    concurrency: requests on their way at once. timeout: seconds that one try may take in all.
    """

    concurrency: int = 16
    timeout: float = 600.0
    patience: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if self.concurrency < 1 or not self.timeout > 0:
            raise SettingsError("a server is asked at least 1 request at once, and given more than 0 seconds for it")


class ChatClient:
    """A server at a base URL, what paths like /chat/completions are put behind. Connects when first asked."""

    def __init__(self, base_url: str, settings: ClientSettings | None = None) -> None:
        self.base_url = base_url
        self.settings = settings or ClientSettings()
        self._key = key_for(base_url)
        self._client = _client(base_url, self._key, self.settings.timeout)
        self._slots = asyncio.Semaphore(self.settings.concurrency)
        self._gate = BackoffGate()
        self._loop = _Loop()
        weakref.finalize(self, self._loop.end, self._client.close)

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own server, which has replaced some names of the API it invented."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    def complete(self, requests: Sequence[Callable[[], dict[str, Any]]]) -> list[Reply]:
        """The replies to requests, in order.

        requests: each a function that makes the fields of a chat completion, called on another thread once its turn
            has come, so that no more pictures are in memory than are on their way.
        Raises ModelError if one cannot be answered; the others are dropped then.
        """
        return self._loop.run(self._complete(requests))

    def submit(self, request: Callable[[], dict[str, Any]]) -> Future[Reply]:
        """The reply to one request, to be had once it has come; see `complete`. Cancelled, it is asked no longer."""
        return self._loop.start(self._answer(request))

    def check(self) -> None:
        """Asks for the list of models, which costs nothing. Raises ModelError if the server refuses or does not answer.

        What the list says is not read: gateways serve models that they do not list, or have no list.
        """
        self._loop.run(self._persist(self._list))

    async def _complete(self, requests: Sequence[Callable[[], dict[str, Any]]]) -> list[Reply]:
        tasks = [asyncio.ensure_future(self._answer(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            # What the first failure, or an interruption, leaves unanswered is not to be paid for.
            for task in tasks:
                task.cancel()

    async def _answer(self, request: Callable[[], dict[str, Any]]) -> Reply:
        import openai

        async with self._slots:
            fields = await asyncio.to_thread(request)

            async def ask() -> Reply:
                try:
                    response = await self._client.chat.completions.with_raw_response.create(**fields)
                except openai.BadRequestError as error:
                    if error.code in FILTERED:
                        return Reply(server_message(error.body))
                    raise
                return read_completion(response.text)

            reply, seconds = await self._persist(ask)
            return replace(reply, seconds=seconds)

    async def _list(self) -> None:
        import openai

        with suppress(openai.NotFoundError):
            await self._client.models.with_raw_response.list()

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """What an attempt returns, made again as long as it fails for reasons that may pass; and its seconds."""
        patience = self.settings.patience
        for failures in count(1):
            await self._gate.passed()
            started = time.perf_counter()
            try:
                return await self._translated(attempt), time.perf_counter() - started
            except _PassingError as error:
                if failures == patience.tries or (error.asked or 0.0) > patience.most_asked:
                    tries = "1 try" if failures == 1 else f"{failures} tries"
                    asks = "" if error.asked is None else f"; it asks to wait for {error.asked:.0f} s"
                    raise ModelError(f"{self.base_url}: gave up after {tries}: {error}{asks}") from None
                pause = patience.pause(failures, error.asked, random.random())
                if error.too_busy:
                    self._gate.close(pause)
            await asyncio.sleep(pause)
        raise AssertionError("count has no end")

    async def _translated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """One attempt. Raises _PassingError for what may pass, and ModelError for what will not."""
        import openai

        try:
            async with asyncio.timeout(self.settings.timeout):
                return await attempt()
        except (TimeoutError, openai.APITimeoutError):
            raise _PassingError(f"no answer within {self.settings.timeout:g} s") from None
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            raise _PassingError(self._clean(f"no connection: {error.__cause__ or error}")) from None
        except MalformedReplyError as error:
            raise _PassingError(self._clean(f"the reply is not a chat completion: {error}")) from None
        except openai.OpenAIError as error:
            raise ModelError(self._clean(f"{self.base_url}: {error}")) from None

    def _refused(self, error: Any) -> _PassingError | ModelError:
        """What a status other than 200 means."""
        status = error.status_code
        said = self._clean(f"status {status}: {server_message(error.body) or 'without a reason'}")
        if (status in PASSING or status >= 500) and error.code != USED_UP:
            return _PassingError(said, asked_wait(error.response.headers), status in TOO_BUSY)
        if status in (401, 403):
            said += f" (the key is that of {KEY}; {OPENAI_KEY} is sent to {OPENAI_HOST} alone)"
        return ModelError(f"{self.base_url}: {said}")

    def _clean(self, text: str) -> str:
        """A message on one line and without the key, which a server may have sent back."""
        line = " ".join(text.split())
        return line.replace(self._key, "(key)") if self._key else line


class _PassingError(Exception):
    """Something that may be over when it is tried again. asked: seconds that the server asks to wait for."""

    def __init__(self, said: str, asked: float | None = None, too_busy: bool = False) -> None:
        super().__init__(said)
        self.asked = asked
        self.too_busy = too_busy


class _Loop:
    """An event loop on a thread of its own, so that there may be another one where it is called, as in a notebook."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: an interrupted program must not wait for requests that are still on their way.
        threading.Thread(target=self._run, name="service", daemon=True).start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Lets a coroutine run."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns; it is cancelled if its caller is interrupted."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def end(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ends the thread, soon, after one last coroutine. Does not wait for it: this may run on the thread itself."""
        done = self.start(last())
        done.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


def key_for(base_url: str) -> str | None:
    """The key to send to a server, from the environment; None if there is none."""
    parts = urlsplit(base_url)
    to_openai = parts.scheme == "https" and parts.hostname == OPENAI_HOST
    key = os.environ.get(KEY) or (os.environ.get(OPENAI_KEY) if to_openai else None)
    if key and not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{KEY}: the key in the environment holds a space, a line break or letters that no key has")
    return key or None


def _client(base_url: str, key: str | None, timeout: float) -> Any:
    """The client of the openai package, whose own retries are off: it would not try malformed replies again."""
    try:
        import openai
    except ImportError:
        raise ModelError("served models need the package openai: pip install 'thinkseg[endpoint]'") from None
    # The package does not start without a key; servers that need none ignore it. Said twice, because headers in the
    # environment (OPENAI_CUSTOM_HEADERS) would go before it, and may hold a key for another server.
    key = key or "none"
    headers = {"Authorization": f"Bearer {key}"}
    return openai.AsyncOpenAI(api_key=key, base_url=base_url, timeout=timeout, max_retries=0, default_headers=headers)
