"""A server of ours on loopback, in front of a policy that says what it is told to."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from thinkseg.models.service import KEY, OPENAI_KEY
from thinkseg.server.app import create_app
from thinkseg.types import Reply, View


class Parrot:
    """Says "word word ... word", one word for each token, as often as it may, in answer to anything.

    asked: dialogues and settings of each call. hold: set it to have answers wait for it. breaks: raised instead.
    """

    name = "parrot"
    coordinates = "pixels"
    size_multiple = 4
    view = View(3, (8, 12))

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.hold = threading.Event()
        self.hold.set()
        self.breaks: Exception | None = None
        self.heard = 0

    def reply(self, dialogues: Any) -> list[Reply]:
        raise AssertionError("a server asks with settings of its own")

    def answer(self, dialogues: Any, sampling: Any, hear: Any = None) -> list[Reply]:
        self.asked.append((dialogues, sampling))
        if self.breaks:
            raise self.breaks
        for number in range(len(dialogues)):
            for _ in range(sampling.max_new_tokens):
                if hear:
                    hear(number, "word ")
                    self.heard += 1
                while not self.hold.wait(0.01):
                    if hear:
                        hear(number, "")
        text = "word " * sampling.max_new_tokens
        return [Reply(text + "end", sampling.max_new_tokens, number % 2 == 1, 9) for number in range(len(dialogues))]


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def running(policy: Any, name: str = "parrot", **settings: Any) -> Iterator[str]:
    """The base URL of a server that runs meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(policy, name, **settings), log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Runs a server: with serving(policy, name, limits=..., key=..., hosts=...) as base_url."""
    return running
