"""Several processes that train one model, one for each device, as `torchrun` starts them; a single one is a team, too.

The Trainer averages the gradients. Here is what it does not do: sharing out the work of a step, telling one another
what a step needs to know of all of it, and having the first process do what only one may do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thinkseg.errors import SettingsError


def count() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", 1))


def number() -> int:
    """Which of them this is. The first, 0, is the one that tells what all do."""
    return int(os.environ.get("RANK", 0))


def check_devices() -> None:
    """Raises SettingsError where one process would train on several devices."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus > 1 and count() == 1:
        raise SettingsError(
            f"there are {gpus} GPUs: start `torchrun --nproc-per-node {gpus} -m thinkseg train ...`, "
            "or choose one, e.g. CUDA_VISIBLE_DEVICES=0"
        )


def device() -> str:
    """Where this process trains."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}" if torch.cuda.is_available() else "cpu"


def share(total: int, setting: str) -> int:
    """How many of a step's fall to each process. Raises SettingsError if they cannot be shared out evenly."""
    if total % count():
        raise SettingsError(f"{setting}: {total} is no multiple of {count()}, the number of processes")
    return total // count()


def all_gather(value: Any) -> list[Any]:
    """What each process has called this with, in their order: all of them call it."""
    if count() == 1:
        return [value]
    import torch.distributed

    values = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def main_process_first() -> Iterator[None]:
    """The first process goes through what is inside while the others wait; then these do, and find it done."""
    if count() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
