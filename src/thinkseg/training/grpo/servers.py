"""vLLM servers that share the rollouts of a step.

A server that is down costs its prompts nothing but time: they go to the others. If all are down, the run waits for one.
A server gets prompts only while it has the current version of the policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from thinkseg.console import warn
from thinkseg.models.policies.client import ClientSettings, EventLoop, ServerDownError, gathered
from thinkseg.models.policies.vllm import GENERATE, LOAD_ADAPTER, RPC, Generated, TokenRequest, VllmServer
from thinkseg.training.grpo.recipe import Rollout

Load = Callable[[VllmServer], Coroutine[Any, Any, None]]
"""Loads a version of the policy on a server, unless it is there."""

POLL_SECONDS = 5.0
"""Between two tries to load the policy while all servers are down."""

CONCURRENCY = 64
"""Requests in flight per server. More would wait there, with their images in memory."""

MAX_RETRIES = 2
"""Of a request on the same server: other servers are there to retry."""


def connect(rollout: Rollout) -> ServerPool:
    """Returns the servers of a recipe. Raises ModelError if one is down or set up in another way."""
    addresses = [GENERATE, LOAD_ADAPTER if rollout.sync == "adapter" else RPC]
    return ServerPool(rollout.servers, addresses, rollout.timeout)


class ServerPool:
    """The servers at some URLs. All must be up at first.

    addresses: that the servers must have, see `VllmServer.connect`. timeout: seconds for one response.
    Raises ModelError if a server cannot be used.
    """

    def __init__(self, urls: Sequence[str], addresses: Sequence[str], timeout: float) -> None:
        settings = ClientSettings(CONCURRENCY, timeout, MAX_RETRIES)
        self.servers = [VllmServer(url, settings) for url in urls]
        self._down: set[VllmServer] = set()
        self._load: Load | None = None
        self._waiting = asyncio.Lock()
        self._loop = EventLoop()
        self._loop.run(gathered(server.connect(addresses) for server in self.servers))

    @property
    def max_model_len(self) -> int:
        """Tokens of a prompt with its reply that every server accepts."""
        return min(server.max_model_len for server in self.servers)

    def load(self, load: Load) -> None:
        """Loads a version of the policy on every server, also on those that were down; returns once one has it.

        The first time, a server that does not load it is an error: it may not see the folder.
        """
        work = load if self._load is None else self._loaded
        self._load = load
        self._loop.run(gathered(work(server) for server in self.servers))
        self._loop.run(self._server(0))

    def generate(self, requests: Sequence[tuple[int, TokenRequest]]) -> list[Generated]:
        """Returns the replies to requests in order, once each. Requests with the same number go to the same server."""
        return self._loop.run(gathered(self._reply(number, request) for number, request in requests))

    def close(self) -> None:
        """Closes the connections. Requests in flight are cancelled."""
        self._loop.end(self._close)

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # requests of other threads
        await gathered(server.close() for server in self.servers)

    async def _reply(self, number: int, request: TokenRequest) -> Generated:
        while True:
            server = await self._server(number)
            try:
                return await server.generate(request)
            except ServerDownError as error:
                self._set_down(server, error)

    async def _server(self, number: int) -> VllmServer:
        """The server for a number. Waits while all are down."""
        async with self._waiting:
            if len(self._down) == len(self.servers):
                warn("all servers are down; waiting for one")
            while len(self._down) == len(self.servers):
                await asyncio.sleep(POLL_SECONDS)
                await gathered(self._loaded(server) for server in self.servers)
        home = self.servers[number % len(self.servers)]
        up = [server for server in self.servers if server not in self._down]
        return up[number % len(up)] if home in self._down else home

    async def _loaded(self, server: VllmServer) -> None:
        assert self._load is not None, "load() comes before generate()"
        try:
            await self._load(server)
        except ServerDownError as error:
            self._set_down(server, error)
            return
        if server in self._down:
            self._down.remove(server)
            warn(f"{server.base_url}: is up again")

    def _set_down(self, server: VllmServer, error: ServerDownError) -> None:
        """Says so once, however many requests fail."""
        if server not in self._down:
            self._down.add(server)
            warn(f"{error}; its prompts go to other servers")
