"""Faults of disks, of input, and of other processes: what commands that resume meet beside signals."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from reporting import HarmError, SkippedError
from resumed import Annotate, Evaluate, Resumed, Segment
from running import NO_LIMITS, Limits, draw_strike, start

from thinkseg.cli.app import USER_ERROR

NOBODY = 65534
CLONE_NEWPID = 0x20000000

Struck = list[tuple[str, str]]


class Folders:
    """Cases of several commands. Each case is one of `KINDS` with one of the commands."""

    name, count = "folders", 72
    modules = ("programs.warm",)

    def prepare(self, folder: Path) -> None:
        self.commands: list[Resumed] = [Segment(), Evaluate(), Annotate()]
        for command in self.commands:
            (folder / command.name).mkdir()
            command.prepare(folder / command.name)

    def run(self, rng: Random, folder: Path, struck: Struck) -> None:
        kind = rng.choice(KINDS)
        commands = [one for one in self.commands if kind is not truncated_input or any(one.input.iterdir())]
        command = rng.choice(commands)
        command.begin_case()
        kind(command, rng, folder / "out", struck)


def _refused(command: Resumed, out: Path, reason: str, limits: Limits = NO_LIMITS, seldom: bool = False) -> None:
    """Runs a command that must end with a line that has a reason. seldom: or with success."""
    run = command.start(out, limits=limits)
    status = run.end()
    if seldom and status in command.ok:
        return
    last = run.output.strip().splitlines()[-1:]
    if status != USER_ERROR or not last or reason not in last[0]:
        raise HarmError("status", f"status {status}, not a line with {reason!r}: {run.output[-1500:]}")


def full_disk(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """The disk is full at some point; then there is room."""
    kilobytes = rng.randint(4, max(8, _kilobytes(command)))
    with mounted(out, f"size={kilobytes}k"):
        struck.append(("full disk", f"{kilobytes} kB"))
        _refused(command, out, "No space left", seldom=True)
        _mount("-o", "remount,size=64m", str(out))
        command.finish(out)


def file_limit(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """A limit of the size of files, as of a user; then there is none."""
    size = rng.randint(3_000, 20_000)  # more than what is printed
    struck.append(("file limit", f"{size} bytes"))
    _refused(command, out, "File too large", Limits(file_bytes=size), seldom=True)
    command.finish(out)


def read_only_disk(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """A disk that turns read-only during the run; then it is writable again."""
    with mounted(out, "size=64m"):
        command.start(out, draw_strike(rng, command.seconds, command.operations)).end()
        _mount("-o", "remount,ro", str(out))
        struck.append(("read-only disk", "before a rerun"))
        _refused(command, out, "Read-only")
        _mount("-o", "remount,rw", str(out))
        command.finish(out)


def read_only_folder(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """A folder of another user."""
    if os.getuid():
        raise SkippedError("only root can run as another user")
    out.mkdir()
    struck.append(("folder of another user", "at the start"))
    _refused(command, out, "Permission denied", Limits(user=NOBODY))
    command.finish(out)


def mount_point(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """The folder of results is a mount point, which cannot be renamed."""
    with mounted(out, "size=64m"):
        strike = draw_strike(rng, command.seconds, command.operations)
        command.start(out, strike).end()
        struck.append(("mount point", f"{strike.signal.name}, {strike.when}"))
        command.finish(out)


def truncated_input(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """A file of the input loses its end while it may be read; then it is whole again."""
    path = rng.choice([path for path in sorted(command.input.rglob("*")) if path.is_file()])
    data, seconds = path.read_bytes(), rng.uniform(0, command.seconds)
    run = command.start(out)
    try:
        run.has_ended(seconds)
        os.truncate(path, rng.randrange(len(data)))
        struck.append(("truncated input", f"{path.suffix}, {seconds:.2f} s"))
        if (status := run.end()) not in (*command.ok, 1, USER_ERROR):
            raise HarmError("status", f"status {status}: {run.output[-1500:]}")
    finally:
        path.write_bytes(data)
    command.finish(out)


def two_processes(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """Two processes with one folder: the second is refused, or comes after the first."""
    runs = [command.start(out) for _ in range(2)]
    struck.append(("two processes", "at the start"))
    ends = sorted((run.end(), "in use by another run" in run.output) for run in runs)
    if any(status not in command.ok and not refused for status, refused in ends):
        raise HarmError("status", f"{ends}: {[run.output[-700:] for run in runs]}")
    command.finish(out)


def two_containers(command: Resumed, rng: Random, out: Path, struck: Struck) -> None:
    """Two processes with one folder, each process number 1 of its namespace; one is killed."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        raise SkippedError("unshare --pid is not permitted")
    strike = draw_strike(rng, command.seconds, command.operations)
    runs = [start(in_namespace, command.program, command.words(out), watched=out) for _ in range(2)]
    runs[0].has_ended(rng.uniform(0, command.seconds))
    runs[0].signal(strike.signal, alone=False)
    struck.append(("two PID namespaces", f"{strike.signal.name} in one"))
    for run in runs:
        run.end()
    if any("Traceback" in run.output for run in runs):
        raise HarmError("status", str([run.output[-700:] for run in runs]))
    command.finish(out)


def in_namespace(program: Callable[[list[str]], int], words: list[str]) -> int:
    """Runs a command as process number 1 of a new namespace. Returns its exit status."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    if (child := os.fork()) == 0:
        os._exit(program(words))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


KINDS: tuple[Callable[[Resumed, Random, Path, Struck], None], ...] = (
    *(full_disk, full_disk, file_limit, read_only_disk, read_only_folder, mount_point),
    *(truncated_input, truncated_input, two_processes, two_containers),
)


@contextmanager
def mounted(out: Path, options: str) -> Iterator[None]:
    """Mounts an empty file system in memory at a folder. Raises SkippedError if that is not permitted."""
    out.mkdir()
    if not _mount("-t", "tmpfs", "-o", options, "tmpfs", str(out)):
        raise SkippedError("this process may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(out)], check=True)


def _mount(*arguments: str) -> bool:
    with suppress(FileNotFoundError):
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    return False


def _kilobytes(command: Resumed) -> int:
    return sum(len(repr(content)) for content in command.expected.values()) >> 10
