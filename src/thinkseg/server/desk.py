"""The one desk all requests come to: a policy answers them one after another, on a thread of its own.

A model is one thing with one memory, and two answers at once would only slow each other down. Those who wait are
bounded, and whoever has left is not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Protocol

from thinkseg.models.listening import Hear
from thinkseg.models.policy import Sampling
from thinkseg.server.limits import RefusedError
from thinkseg.server.requests import Asked
from thinkseg.types import Dialogue, Policy, Reply

WAIT_SECONDS = 2
"""What those are told who find too many waiting."""


class Answerer(Policy, Protocol):
    """A policy whose settings can differ from call to call, as `thinkseg.models.policy.QwenPolicy`."""

    def answer(self, dialogues: list[Dialogue], sampling: Sampling, hear: Hear | None = None) -> list[Reply]: ...


class LeftError(Exception):
    """Whoever asked is gone, or the desk is closed."""


class Desk:
    """Has a policy answer. max_requests: that may be at the desk at once."""

    def __init__(self, policy: Answerer, max_requests: int) -> None:
        self.policy = policy
        self._max = max_requests
        self._inside = 0
        self._closed = Event()
        self._thread = ThreadPoolExecutor(1, "policy")

    @contextmanager
    def place(self) -> Iterator[Event]:
        """A place at the desk, with the event that whoever has it left. Raises RefusedError if there is none."""
        if self._inside >= self._max:
            raise RefusedError(
                f"{self._inside} requests are waiting: come back later",
                status=429,
                code="rate_limit_exceeded",
                wait=WAIT_SECONDS,
            )
        self._inside += 1
        gone = Event()
        try:
            yield gone
        finally:
            gone.set()
            self._inside -= 1

    def ask(self, asked: Asked, gone: Event, hear: Hear | None = None) -> asyncio.Future[list[Reply]]:
        """The answers, once they are there. Raises LeftError instead if nobody waits for them any more.

        hear: told what is written while it is, on the thread of the policy.
        """
        work = partial(self._answer, asked, gone, hear)
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Answers nobody any more, not even whom it is answering."""
        self._closed.set()
        self._thread.shutdown(wait=False)

    def _answer(self, asked: Asked, gone: Event, hear: Hear | None) -> list[Reply]:
        def heard(number: int, text: str) -> None:
            if gone.is_set() or self._closed.is_set():
                raise LeftError
            if hear and text:
                hear(number, text)

        if gone.is_set() or self._closed.is_set():
            raise LeftError
        return self.policy.answer([asked.dialogue] * asked.samples, asked.sampling, heard)
