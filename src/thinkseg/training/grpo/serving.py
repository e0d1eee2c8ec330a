"""The vLLM servers of a recipe: the commands that start them, and their processes."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import urlopen

from thinkseg.console import say, warn
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import COORDINATES
from thinkseg.training.grpo.recipe import GrpoRecipe, Rollout
from thinkseg.training.model_stats import ModelStats
from thinkseg.training.row_sizes import tokens_of, turns
from thinkseg.training.trainer import run_view

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's --max-lora-rank."""

DTYPES = {"bf16": "bfloat16", "fp32": "float32", "auto": "auto"}
"""vLLM's names of a recipe's precisions."""

QUERY_TOKENS = 128
"""Room in each turn for a query that is longer than the typical one."""

LENGTH_MULTIPLE = 256
"""The context is rounded up to it."""

POLL_SECONDS = 1.0
STOP_SECONDS = 30.0
"""Time to end before a server is killed."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How a server is started.

    url: its address. variables: additions to the environment. arguments: the first is the program.
    """

    url: str
    variables: Mapping[str, str]
    arguments: tuple[str, ...]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return _address(self.url)

    def __str__(self) -> str:
        """The line for a shell."""
        return " ".join([*(f"{name}={value}" for name, value in self.variables.items()), shlex.join(self.arguments)])


def server_commands(
    recipe: GrpoRecipe, model: ModelStats, vllm: str = "vllm", gpus: Sequence[int] = (), extra: Sequence[str] = ()
) -> list[ServerCommand]:
    """Returns a command per server of a recipe.

    model: stats of its model. vllm: the program. extra: further arguments, which take precedence.
    gpus: of a machine, shared equally among the servers there (default: the choice is vLLM's).
    Raises SettingsError if the recipe has no servers, vLLM cannot load its adapter, or GPUs cannot be shared.
    """
    if recipe.vllm is None:
        raise SettingsError("rollout: has no servers; set `engine: vllm` with `servers` and `sync`")
    common = _arguments(recipe, model)
    commands = []
    for url, devices in zip(recipe.vllm.servers, _devices(recipe.vllm, gpus), strict=True):
        host, port = _address(url)
        arguments = [vllm, "serve", *common, "--host", host, "--port", str(port)]
        if len(devices) > 1:
            arguments += ["--tensor-parallel-size", str(len(devices))]
        commands.append(ServerCommand(url, _variables(recipe.vllm, devices), (*arguments, *extra)))
    return commands


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _arguments(recipe: GrpoRecipe, model: ModelStats) -> list[str]:
    """What all servers are started with, except for their addresses and devices."""
    view = replace(run_view(recipe), coordinates=COORDINATES[model.model_type])
    prompt = list(turns(recipe.chain, view))
    length = sum(tokens_of(turn.content, model) + QUERY_TOKENS + recipe.max_new_tokens for turn in prompt)
    images = sum(len(turn.images) for turn in prompt)
    name = str(resolve_model(str(recipe.model.name)))
    return [
        str(Path(name).resolve()) if Path(name).is_dir() else name,
        *("--dtype", DTYPES[recipe.precision], "--generation-config", "vllm"),
        *("--max-model-len", str(LENGTH_MULTIPLE * math.ceil(length / LENGTH_MULTIPLE))),
        *("--limit-mm-per-prompt", json.dumps({"image": images})),
        *("--enable-scale-out", "--logprobs-mode", "processed_logprobs"),
        *(_lora_arguments(recipe.model.lora.rank) if recipe.model.lora else ()),
    ]


def _lora_arguments(rank: int) -> tuple[str, ...]:
    largest = next((one for one in LORA_RANKS if one >= rank), None)
    if largest is None:
        raise SettingsError(f"model.lora.rank: {rank} is too large for vLLM; must be <= {LORA_RANKS[-1]}")
    return "--enable-lora", "--max-lora-rank", str(largest)


def _variables(rollout: Rollout, devices: Sequence[int]) -> dict[str, str]:
    name = "VLLM_ALLOW_RUNTIME_LORA_UPDATING" if rollout.sync == "adapter" else "VLLM_SERVER_DEV_MODE"
    return {name: "1"} | ({"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))} if devices else {})


def _devices(rollout: Rollout, gpus: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yields the GPUs of each server. Every machine has the same ones."""
    hosts = [_address(url)[0] for url in rollout.servers]
    seen: Counter[str] = Counter()
    for host in hosts:
        each, rest = divmod(len(gpus), hosts.count(host))
        if rest or (gpus and not each):
            raise SettingsError(
                f"--gpus: {len(gpus)} for {hosts.count(host)} servers on {host}; give as many, or a multiple"
            )
        yield gpus[seen[host] * each : (seen[host] + 1) * each]
        seen[host] += 1


class ServerProcess:
    """A server in a process of its own, with those that it starts. output: a file (default: that of this process)."""

    def __init__(self, command: ServerCommand, output: IO[bytes] | None = None) -> None:
        self.command = command
        self._output = output
        self.start()

    def start(self) -> None:
        """Returns at once. Raises SettingsError if there is no such program."""
        command = self.command
        try:
            self._process = subprocess.Popen(
                command.arguments,
                env={**os.environ, **command.variables},
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # a process group, which ends together
            )
        except OSError as error:
            raise SettingsError(
                f"--vllm: {command.arguments[0]!r} cannot be started: {error.strerror}; give the path of vllm"
            ) from None

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def is_up(self) -> bool:
        """Whether the server replies. Raises ModelError if it has ended."""
        if self.has_ended:
            raise ModelError(
                f"{self.command.url}: vLLM has ended with status {self._process.returncode}; see its output"
            )
        try:
            urlopen(f"{self.command.url.rstrip('/')}/health", timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL)) -> None:
        """Sends each signal to all processes of the server, with time to end after the first."""
        for number in signals:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, number)
                self._process.wait(STOP_SECONDS)


def run_servers(commands: Sequence[ServerCommand]) -> None:
    """Runs servers until it is interrupted. One that ends once all were up is started again.

    Raises SettingsError if one cannot run on this machine, ModelError if one does not start.
    """
    for command in commands:
        _check_address(command)
    servers: list[ServerProcess] = []
    try:
        servers.extend(map(ServerProcess, commands))  # those that have started are there if one does not
        while not all(server.is_up() for server in servers):
            time.sleep(POLL_SECONDS)
        say("all servers are up; Ctrl-C stops them")
        while True:
            time.sleep(POLL_SECONDS)
            for server in servers:
                if server.has_ended:
                    warn(f"{server.command.url}: vLLM has ended; starting it again")
                    server.stop()  # what it has started may still run
                    server.start()
    finally:
        for server in servers:
            server.stop()


def _check_address(command: ServerCommand) -> None:
    """Raises SettingsError unless a server can listen there."""
    try:
        socket.create_server(command.address).close()
    except OSError as error:
        raise SettingsError(
            f"rollout.servers: {command.url} cannot be used on this machine: {error.strerror}; choose a free port, or "
            "start the servers of another machine there, e.g. --set 'rollout.servers=[URL]'"
        ) from None
