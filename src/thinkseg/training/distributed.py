"""Helpers for data-parallel training under `torchrun`, which also serve a single process.

The Trainer averages gradients over processes. These functions split the work of a step, exchange values, and let the
main process (rank 0) do what must happen once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thinkseg.errors import SettingsError


def world_size() -> int:
    """Returns the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Returns the index of this process. The main process has rank 0."""
    return int(os.environ.get("RANK", 0))


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

    values = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def main_process_first() -> Iterator[None]:
    """Runs the block in the main process, then in the others."""
    if world_size() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
