"""Functions run by several processes that form a group, as under torchrun, but forked, without the time of imports."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import torch


def run_processes(count: int, function: Callable[..., None], *args: Any) -> None:
    """Calls a function in `count` processes. Raises RuntimeError, and ends all, as soon as one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forked = multiprocessing.get_context("fork")
    group = [forked.Process(target=_run, args=(rank, count, port, function, *args)) for rank in range(count)]
    for process in group:
        process.start()
    running = list(group)
    try:
        while running:
            wait([process.sentinel for process in running])
            if failed := [process for process in group if process.exitcode]:
                raise RuntimeError(f"{failed[0].name} failed; its traceback is in the output")
            running = [process for process in running if process.exitcode is None]
    finally:
        for process in group:
            process.kill()
            process.join()


def _run(rank: int, count: int, port: int, function: Callable[..., None], *args: Any) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    function(*args)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
