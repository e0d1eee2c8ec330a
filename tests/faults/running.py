"""Processes that are struck: a command of ThinkSeg starts from a process that has imported it, and gets a signal.

A strike is a signal after some seconds, or at a file operation by its number: opening a file to write, renaming,
deleting or creating a folder in the folder of the run. The latter finds what a clock rarely meets, and is repeatable.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from reporting import HarmError

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

LONGEST_SECONDS = 300.0
"""A process that does not end by then is a finding."""

OPERATIONS_FILE = ".operations"
"""Suffix of the file with their number, beside the log."""

OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "open"}
"""Audit events of Python that change files; of "open" those that write."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A signal, after `seconds`, or at file operation number `operation` of the run. alone: not to its children."""

    signal: signal.Signals
    seconds: float | None = None
    operation: int | None = None
    alone: bool = True

    @property
    def when(self) -> str:
        return f"operation {self.operation}" if self.seconds is None else f"{self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process must not do. file_bytes: largest file. user: that it runs as."""

    file_bytes: int | None = None
    user: int | None = None


NO_LIMITS = Limits()


class Run:
    """A running process. log: what it prints. Its exit status is that of the command, or minus a signal."""

    def __init__(self, process: BaseProcess, log: Path, strike: Strike | None) -> None:
        self._process, self._log, self._strike = process, log, strike

    def end(self) -> int:
        """Waits for the end, with the strike if that is one of time. Returns the exit status, or raises HarmError."""
        if self._strike and self._strike.seconds is not None:
            self._process.join(self._strike.seconds)
            self.signal(self._strike.signal, self._strike.alone)
        self._process.join(LONGEST_SECONDS)
        if self._process.exitcode is None:
            self.signal(signal.SIGKILL, alone=False)
            self._process.join()
            raise HarmError("status", f"no end after {LONGEST_SECONDS:.0f} s: {self.output}")
        return self._process.exitcode

    def signal(self, number: signal.Signals, alone: bool = True) -> None:
        """Sends a signal to the process, or to its group. One that has ended gets none."""
        with suppress(ProcessLookupError):
            if self._process.exitcode is None and self._process.pid:
                (os.kill if alone else os.killpg)(self._process.pid, number)

    def has_ended(self, seconds: float) -> bool:
        """Waits for the end up to some seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def output(self) -> str:
        """What the process has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def num_operations(self) -> int:
        """File operations of a process that has ended by itself."""
        return int(self._log.with_suffix(OPERATIONS_FILE).read_text())


def prepare(programs: Sequence[str]) -> None:
    """Names the modules that are imported once, by the process from which all others are forked."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(programs))


def start(
    program: Callable[..., int], *args: Any, watched: Path, strike: Strike | None = None, limits: Limits = NO_LIMITS
) -> Run:
    """Calls a function of a module in `programs` in a process. watched: the folder whose operations count."""
    handle, log = tempfile.mkstemp(".log", dir=watched.parent)
    os.close(handle)
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run, args=(program, args, watched, log, strike, limits))
    process.start()
    return Run(process, Path(log), strike)


def _run(
    program: Callable[..., int], args: Sequence[Any], watched: Path, log: str, strike: Strike | None, limits: Limits
) -> None:
    """The process: a session of its own, whose output is a file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as it is for a program that has not started yet
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    with Path(log).with_suffix(OPERATIONS_FILE).open("w") as operations:
        _limit(limits)
        watch = Watch(str(watched), strike)
        sys.addaudithook(watch)
        status = program(*args)
        operations.write(str(watch.end()))
    sys.exit(status)


def _limit(limits: Limits) -> None:
    import resource

    if limits.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if limits.user is not None:
        os.setresuid(limits.user, limits.user, limits.user)


class Watch:
    """Counts the file operations below a folder, and strikes at one of them."""

    def __init__(self, folder: str, strike: Strike | None) -> None:
        self._folder, self._strike, self._count = folder, strike, 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or not self._is_below(args[0]) or (event == "open" and not _writes(args)):
            return
        self._count += 1
        if self._strike and self._count == self._strike.operation:
            (os.kill if self._strike.alone else os.killpg)(os.getpid(), self._strike.signal)

    def end(self) -> int:
        """Returns the number of operations, and strikes no more."""
        self._strike = None
        return self._count

    def _is_below(self, path: Any) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self._folder)


def _writes(args: tuple[Any, ...]) -> bool:
    flags = args[2] if len(args) > 2 and isinstance(args[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def draw_strike(rng: Random, seconds: float, operations: int, alone: bool = True) -> Strike:
    """Draws a signal and its moment, within some seconds or a number of file operations."""
    number = rng.choice(SIGNALS)
    if rng.random() < 0.4:
        return Strike(number, seconds=rng.uniform(0, seconds), alone=alone)
    return Strike(number, operation=rng.randint(1, max(1, operations)), alone=alone)
