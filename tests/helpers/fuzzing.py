"""Runs the cases of a subject in a process of its own, and collects what must not happen.

A case is a pure function of (subject, seed, number). A finding is an exception that is not documented, a message that
is no short line, the end of the process, more than `MAX_SECONDS` of processor time, or `MAX_BYTES` of memory.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

import thinkseg
from thinkseg.errors import MAX_MESSAGE_CHARS, ThinkSegError

MAX_SECONDS = 10.0
"""Processor time of a case. Its process is ended after `MAX_CLOCK_SECONDS`, which a busy machine does not reach."""

MAX_CLOCK_SECONDS = 120.0

MAX_BYTES = 1 << 30
"""Memory that a case may add to that of the process."""

ADDRESS_SPACE = 8 << 30

PROJECT = str(Path(thinkseg.__file__).parent)


class Subject(Protocol):
    """What is fuzzed. count: cases at full scale."""

    name: str
    count: int

    def prepare(self, folder: Path) -> None:
        """Makes what all cases share, once per process."""
        ...

    def run(self, rng: Random, folder: Path) -> None:
        """Runs one case in an empty folder. Raises what is a finding."""
        ...


class WrongError(Exception):
    """A result that must not be. where: the place in the project, if the traceback does not lead there."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, slots=True)
class Finding:
    """case: its number. kind: the exception's type, or how the process ended. where: the innermost project frame."""

    subject: str
    case: int
    kind: str
    where: str
    details: str


@contextmanager
def allowing(*kinds: type[ThinkSegError]) -> Any:
    """Ends the block at an error of these kinds, whose message must be short and on one line."""
    try:
        yield
    except kinds as error:
        check_message(str(error))


def check_message(message: str) -> None:
    """Raises WrongError for a message that is too long, or that a terminal would show as several lines."""
    if len(message) > MAX_MESSAGE_CHARS:
        raise WrongError(f"message of {len(message)} characters: {message[:200]!r}...{message[-200:]!r}")
    if len(message.splitlines()) != 1:
        raise WrongError(f"message is not one line: {message!r}")


def check_text(text: str) -> None:
    """Raises WrongError for a text whose characters would control a terminal."""
    if bad := {char for char in text if char != "\n" and not char.isprintable()}:
        raise WrongError(f"text has {sorted(bad)[:5]!r}: {text[:300]!r}")


def run_case(subject: Subject, seed: int, case: int, folder: Path) -> None:
    """Runs one case. Raises what is a finding."""
    folder.mkdir()
    started, before = time.process_time(), _peak_bytes()
    try:
        subject.run(Random(f"{subject.name} {seed} {case}"), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if (seconds := time.process_time() - started) > MAX_SECONDS:
        raise WrongError(f"takes {seconds:.0f} s of processor time")
    if (added := _peak_bytes() - before) > MAX_BYTES:
        raise WrongError(f"takes {added >> 20} MB of memory")


def run_subject(make: Callable[[], Subject], seed: int, count: int) -> list[Finding]:
    """Runs cases 0..count-1 and returns the findings, the first of each kind and place."""
    found: dict[tuple[str, str], Finding] = {}
    case = 0
    while case < count:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            case, findings = _run_process(make, seed, range(case, count), Path(folder))
        for finding in findings:
            found.setdefault((finding.kind, finding.where), finding)
    return list(found.values())


def _run_process(make: Callable[[], Subject], seed: int, cases: range, folder: Path) -> tuple[int, list[Finding]]:
    """Runs cases in one process until it ends. Returns the next case to run, and the findings."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(make, seed, cases, folder, send))
    process.start()
    send.close()
    case, findings = cases.start, []
    with suppress(EOFError):
        while True:
            case, finding = receive.recv()
            findings += [finding] if finding else []
    process.join()
    if process.exitcode:
        findings.append(_death(make().name, case, process.exitcode, (folder / "trace").read_text()))
        case += 1
    return case, findings


def _work(make: Callable[[], Subject], seed: int, cases: range, folder: Path, send: Any) -> None:
    """Runs cases, each announced before and reported after. Ends the process when a case does not end."""
    trace = (folder / "trace").open("w")
    faulthandler.enable(trace)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    subject = make()
    subject.prepare(folder)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for case in cases:
        send.send((case, None))
        faulthandler.dump_traceback_later(MAX_CLOCK_SECONDS, exit=True, file=trace)
        try:
            run_case(subject, seed, case, folder / "case")
        except Exception as error:
            send.send((case, _finding(subject.name, case, error)))
        faulthandler.cancel_dump_traceback_later()
    send.send((cases.stop, None))
    send.close()


def _finding(subject: str, case: int, error: Exception) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(PROJECT)]
    at = ours[-1] if ours else frames[-1]
    where = getattr(error, "where", "") or f"{os.path.relpath(at.filename, PROJECT)}:{at.lineno} {at.name}"
    text = "".join(traceback.format_exception(error))
    return Finding(subject, case, type(error).__name__, where, text[-3000:])


def _death(subject: str, case: int, exitcode: int, trace: str) -> Finding:
    kind = "hang" if "Timeout" in trace else f"process ended with {exitcode}"
    ours = [line.strip() for line in trace.splitlines() if PROJECT in line]
    where = ours[0].replace(PROJECT, "").lstrip() if ours else "unknown"
    return Finding(subject, case, kind, where, trace[-3000:])


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def to_json(finding: Finding) -> str:
    """Returns a finding as a line."""
    return json.dumps({name: getattr(finding, name) for name in Finding.__slots__})
