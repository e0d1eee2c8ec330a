"""Helpers for training with several processes under `torchrun`, which also serve a single process.

These functions split the work of a step, exchange values, average gradients, and let the main process (rank 0) do what
must happen once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    import torch

TIMEOUT = timedelta(hours=6)
"""How long a process waits for another: for its rollouts, or for the servers of rollouts to come back."""


def world_size() -> int:
    """Returns the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Returns the index of this process. The main process has rank 0."""
    return int(os.environ.get("RANK", 0))


def connect(always: bool = False) -> None:
    """Lets the processes exchange tensors. always: even if there is only one process, as sharding needs it."""
    import torch
    import torch.distributed as dist

    if dist.is_initialized() or not (always or world_size() > 1):
        return
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(device())
    alone: dict[str, Any] = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if world_size() == 1 else {}
    backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"  # gloo for tensors that are offloaded to the CPU
    dist.init_process_group(backend, timeout=TIMEOUT, **alone)


def check_devices() -> None:
    """Raises SettingsError if a single process would train on several GPUs."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus > 1 and world_size() == 1:
        raise SettingsError(
            f"{gpus} GPUs are visible to one process: start `torchrun --nproc-per-node {gpus} -m thinkseg train ...`, "
            "or choose one GPU, e.g. CUDA_VISIBLE_DEVICES=0"
        )


def device() -> str:
    """Returns the device on which this process trains."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if torch.cuda.is_available() else "cpu"


def per_process(total: int, setting: str) -> int:
    """Returns each process's part of a total per step. Raises SettingsError if the parts are not equal integers."""
    if total % world_size():
        raise SettingsError(
            f"{setting}: {total} is not a multiple of {world_size()}, the number of processes; change one of the two"
        )
    return total // world_size()


def all_gather(value: Any) -> list[Any]:
    """Returns the values of all processes in rank order. Every process must call it. value: picklable."""
    if world_size() == 1:
        return [value]
    import torch.distributed

    connect()
    values = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces the gradients of parameters that every process holds by their means over the processes."""
    if world_size() == 1:
        return
    import torch
    import torch.distributed as dist

    for parameter in parameters:
        if parameter.grad is None:  # here, but perhaps not elsewhere
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= world_size()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Runs the block in the main process, then in the others."""
    if world_size() == 1:
        yield
        return
    import torch.distributed as dist

    connect()
    if rank():
        dist.barrier()
    yield
    if not rank():
        dist.barrier()
