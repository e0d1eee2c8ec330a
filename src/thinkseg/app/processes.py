"""Processes that do tasks, one at a time, and can be stopped at any moment.

A task and what is reported about it are JSON objects. A process gets them over a pipe; the files that it reads and
writes are on disk. One that ends fails its task, and the next task starts a new one.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from thinkseg.errors import ThinkSegError, one_line

Json = dict[str, Any]
Report = Callable[[Json | None], None]
"""Reports a JSON object about the task in progress. In the process, it raises `Cancelled` once that is wanted, also
for None, which reports nothing."""

Perform = Callable[[Json, Report], Json]
"""Does a task, and returns its result."""

MAX_MESSAGE_BYTES = 64 << 20
"""A process whose message is larger is stopped."""

CANCEL_SECONDS = 2.0
"""Time for a task to end after it is cancelled, before its process is stopped."""

DONE, FAILED, CANCELLED, REPORT = "done", "failed", "cancelled", "report"

_CANCEL = b"cancel"


class Cancelled(Exception):  # noqa: N818
    """The task is cancelled."""


class TaskError(Exception):
    """A task failed; the message is one line for the user."""


def perform_tasks(connection: Connection, set_up: Callable[[], Perform]) -> None:
    """Does the tasks that arrive, in a process of their own, until the pipe is closed."""
    # Ctrl-C reaches all processes of a terminal; the server stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    perform = set_up()
    try:
        while True:
            message = connection.recv_bytes()
            if message != _CANCEL:  # of a task that has ended before
                kind, value = _performed(perform, json.loads(message), connection)
                _send(connection, kind, value)
    except (EOFError, OSError):
        return


def _performed(perform: Perform, task: Json, connection: Connection) -> tuple[str, Any]:
    def report(event: Json | None) -> None:
        if connection.poll() and connection.recv_bytes() == _CANCEL:
            raise Cancelled
        if event is not None:
            _send(connection, REPORT, event)

    try:
        return DONE, perform(task, report)
    except Cancelled:
        return CANCELLED, None
    except ThinkSegError as error:
        return FAILED, str(error)
    except (EOFError, OSError) as error:  # a full disk; or the server has closed the pipe, and sending ends the process
        return FAILED, one_line(str(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return FAILED, one_line(f"{type(error).__name__}: {error}")


def _send(connection: Connection, kind: str, value: Any) -> None:
    connection.send_bytes(json.dumps([kind, value]).encode())


class Worker:
    """A process that does tasks, started with the first one.

    set_up: returns what does a task, called in the process; it must be picklable.
    """

    def __init__(self, set_up: Callable[[], Perform]) -> None:
        self._set_up = set_up
        self._process: BaseProcess | None = None
        self._turn = asyncio.Lock()
        self._cancelling: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process; None if there is none."""
        return self._process.pid if self._process else None

    async def run(self, task: Json, on_report: Report, seconds: float | None = None) -> Json:
        """Does a task after those that wait, and returns its result. on_report: gets what is reported, on this thread.

        Raises Cancelled, and TaskError if the task fails, its process ends, or it takes longer than `seconds`.
        """
        async with self._turn:
            if self._process is None or not self._process.is_alive():
                self._start()
            try:
                async with asyncio.timeout(seconds):
                    return await self._exchange(task, on_report)
            except TimeoutError:
                self.stop()
                raise TaskError(f"took longer than {seconds:g} seconds, and was stopped") from None
            except asyncio.CancelledError:
                self.stop()
                raise
            finally:
                self._end_cancelling()

    def cancel(self) -> None:
        """Cancels the task in progress: the process is stopped if it does not end it in time."""
        if self._process and self._cancelling is None:
            try:
                self._connection.send_bytes(_CANCEL)
            except OSError:
                return  # it has just ended, which `run` finds out
            self._cancelling = asyncio.get_running_loop().call_later(CANCEL_SECONDS, self.stop)

    def stop(self) -> None:
        """Ends the process at once; its task fails."""
        if self._process:
            self._process.kill()

    def close(self) -> None:
        """Ends the process and frees what belongs to it."""
        if self._process:
            self._process.kill()
            self._discard()

    def _start(self) -> None:
        self.close()
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=perform_tasks, args=(theirs, self._set_up), daemon=True)
        self._process.start()
        theirs.close()
        self._thread = ThreadPoolExecutor(1, "worker")

    async def _exchange(self, task: Json, on_report: Report) -> Json:
        try:
            self._connection.send_bytes(json.dumps(task).encode())
            while True:
                kind, value = await self._received()
                if kind == REPORT:
                    on_report(value)
                elif kind == DONE:
                    result: Json = value
                    return result
                else:
                    raise Cancelled if kind == CANCELLED else TaskError(value)
        except (EOFError, OSError):
            raise self._end() from None

    async def _received(self) -> tuple[str, Any]:
        loop = asyncio.get_running_loop()
        message = await loop.run_in_executor(self._thread, self._connection.recv_bytes, MAX_MESSAGE_BYTES)
        kind, value = json.loads(message)
        return kind, value

    def _end(self) -> Cancelled | TaskError:
        """Frees a process that has ended, and returns why."""
        cancelled, code = self._cancelling is not None, self._discard()
        if cancelled:
            return Cancelled()
        cause = f"signal {-code}, as when memory is exhausted" if code is not None and code < 0 else f"status {code}"
        return TaskError(f"its process ended ({cause}); ask again")

    def _discard(self) -> int | None:
        """Frees a process that ends, and returns its exit code."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()  # one that sent what it must not send
        process.join()
        self._connection.close()
        self._thread.shutdown(wait=False)
        return process.exitcode

    def _end_cancelling(self) -> None:
        if self._cancelling:
            self._cancelling.cancel()
            self._cancelling = None


class Workers:
    """Processes that do the same tasks, several at a time."""

    def __init__(self, set_up: Callable[[], Perform], count: int) -> None:
        self._workers = [Worker(set_up) for _ in range(count)]
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def run(self, task: Json, seconds: float) -> Json:
        """Does a task as `Worker.run` does, once a process is idle."""
        worker = await self._idle.get()
        try:
            return await worker.run(task, lambda _: None, seconds)
        finally:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.close()
