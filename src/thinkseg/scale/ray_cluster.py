"""Connects to Ray: to one that starts and ends with the command, or to a cluster."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from thinkseg.errors import ModelError, SettingsError, ThinkSegError, one_line

LOCAL, AUTO = "local", "auto"
"""Addresses: a Ray of our own on this machine, and the cluster that this machine belongs to."""

STORE_BYTES = 512 << 20
"""Results on their way, in memory of a Ray of our own. More of them go to its temporary folder."""

MAX_REASON = 300
"""Characters of a message of Ray."""

_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""No statistics leave the machine, and workers run in the environment of this process."""

_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""Listens on the loopback address alone, which Ray does on Windows and macOS, and takes calls with our token alone."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where workers run.

    address: LOCAL, AUTO, or HOST:PORT of the head of a cluster. gpus: per worker (default: 1 where there are GPUs).
    logs: print what workers print.
    """

    workers: int
    address: str = LOCAL
    gpus: float | None = None
    logs: bool = False


@contextmanager
def connected(placement: Placement) -> Iterator[None]:
    """Connects to a cluster, or runs a Ray of our own, for the block. Call it on the main thread.

    Raises SettingsError if there is no cluster at the address, ModelError if Ray does not start.
    """
    with ExitStack() as leaving:
        options: dict[str, Any] = {"log_to_driver": placement.logs, "logging_level": logging.CRITICAL}
        os.environ.update(_ENVIRONMENT)
        if placement.address == LOCAL:
            # A folder of its own: the usual one belongs to the first user of the machine, and stays.
            folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            if "ray" not in sys.modules:  # which reads them when it is imported
                os.environ.update(_ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
            options |= {"include_dashboard": False, "num_cpus": placement.workers, "_temp_dir": folder}
            options |= {"object_store_memory": STORE_BYTES}
        import ray

        if ray.is_initialized():  # by the caller, who also ends it
            yield
            return
        # Ray takes SIGTERM for itself, which ends a command as Ctrl-C does, with time to clean up.
        handler = signal.getsignal(signal.SIGTERM)
        leaving.callback(ray.shutdown)
        _print_to_stderr(placement.logs)
        try:
            _initialize(placement.address, options)
        finally:
            signal.signal(signal.SIGTERM, handler)
        yield


def _initialize(address: str, options: Mapping[str, Any]) -> None:
    """Calls `ray.init`, which gives its processes 30 seconds: too few for a first start from a slow disk, so twice."""
    import ray

    tries = 2 if address == LOCAL else 1
    for left in reversed(range(tries)):
        try:
            ray.init(address, **options)
            return
        except Exception as error:  # Ray has no class for these errors
            ray.shutdown()
            if not left:
                raise _not_connected(address, error) from None


def _print_to_stderr(logs: bool) -> None:
    """Keeps what Ray and its processes print from standard output. logs: print it, to standard error."""
    from ray._private import worker

    printed = worker.print_to_stdstream

    def to_stderr(data: dict[str, Any], *args: Any, **settings: Any) -> None:
        if logs:
            printed({**data, "is_err": True}, *args, **settings)

    worker.print_to_stdstream = to_stderr


def _not_connected(address: str, error: Exception) -> ThinkSegError:
    reason = one_line(str(error).strip().partition("\n")[0], MAX_REASON)
    if address == LOCAL:
        return ModelError(f"Ray did not start ({reason}); run the command again, or without --ray and --workers")
    return SettingsError(f"--ray: no cluster at {address!r} ({reason}); start its head with: ray start --head")


def gpus_per_worker(placement: Placement) -> float:
    """Returns the GPUs of each worker. Raises SettingsError if the workers do not fit into what is free."""
    import ray

    gpus, has = placement.gpus, ray.cluster_resources()
    if gpus is None:
        gpus = 1.0 if has.get("GPU") else 0.0
    # A Ray that has just started does not know yet what is free: all of it.
    places = free_places(gpus, in_use=placement.address == LOCAL)
    if places < placement.workers:
        raise SettingsError(
            f"--workers: {placement.workers} with 1 CPU and {gpus:g} GPUs each, but only {places} fit into what is free"
            f" of {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs; lower --workers or --gpus-per-worker"
        )
    return gpus


def free_places(gpus: float, in_use: bool = False) -> int:
    """Returns how many workers of a CPU and so many GPUs fit. in_use: also where others run now."""
    import ray

    places = sum(_places(node["Resources"], gpus) for node in ray.nodes() if node["Alive"])
    return places if in_use else min(places, _places(ray.available_resources(), gpus))


def _places(resources: Mapping[str, float], gpus: float) -> int:
    """Returns how many workers fit. A share of a GPU is that of a single one."""
    places, cards = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    if gpus:
        places = min(places, int(cards // gpus) if gpus >= 1 else int(cards) * int(1 / gpus))
    return places
