"""Workers in processes of Ray, on this machine or on a cluster, as one worker.

In: how a worker is made, and what it needs. Out: the results of all workers as they come. A process that dies is
replaced, and what is left of its task is done again, see `thinkseg.scale.workers.Tasks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar

from thinkseg.errors import ModelError, SettingsError, ThinkSegError, one_line
from thinkseg.scale.ray_cluster import Placement, connected, free_places, gpus_per_worker
from thinkseg.scale.workers import MAX_DEATHS, Item, Tasks, Worker, WorkerLostError

Result = TypeVar("Result")

MAX_UNREAD = 4
"""Results of a process that wait to be taken. It then pauses, so that memory is bounded."""

CHECK_SECONDS = 60
"""Without an event for so long, there may be no machine left."""

MAX_REASON = 200
"""Characters of a message of Ray."""


@dataclass(slots=True, eq=False)
class _Process(Generic[Item]):
    """An actor. awaited: its settings while it starts, then the results of its task; None without a task."""

    actor: Any
    awaited: Any
    is_ready: bool = False
    task: list[Item] = field(default_factory=list)
    """What is left of it."""

    @property
    def is_working(self) -> bool:
        return self.is_ready and self.awaited is not None


class RayWorkers(Generic[Item, Result]):
    """Many workers as one, see `thinkseg.scale.workers.Worker`. A context manager: its processes end with it.

    make_worker: makes the worker of a process. It is pickled, and so are items and results.
    video_of, batch_size: see `Tasks`. settings: those of the first worker that is ready; all must have the same.
    Raises as `connected` and `gpus_per_worker` do, what `make_worker` raises, and ModelError if workers die while they
    start.
    """

    def __init__(
        self,
        make_worker: Callable[[], Worker[Item, Result]],
        placement: Placement,
        video_of: Callable[[Item], str],
        batch_size: int = 1,
    ) -> None:
        self.settings: Mapping[str, Any] = {}
        self._make_worker, self._placement = make_worker, placement
        self._video_of, self._batch_size = video_of, batch_size
        self._processes: list[_Process[Item]] = []
        self._failed_starts = 0

    def __enter__(self) -> RayWorkers[Item, Result]:
        with ExitStack() as undo:
            undo.enter_context(connected(self._placement))
            import ray

            self._gpus = gpus_per_worker(self._placement)
            self._make_ref = ray.put(self._make_worker)
            undo.callback(self._end_all)
            self._processes = [self._started() for _ in range(self._placement.workers)]
            while not any(process.is_ready for process in self._processes):
                self._receive(Tasks([], self._video_of))
            self._leaving = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leaving.close()

    def answer(self, items: Sequence[Item]) -> Generator[tuple[Item, Result | WorkerLostError], None, None]:
        """Yields results as they come, and items that are set aside with the reason. Raises what a worker raises."""
        tasks = Tasks(items, self._video_of, self._batch_size)
        while tasks or any(process.is_working for process in self._processes):
            for process in self._processes:
                if tasks and process.is_ready and not process.is_working:
                    self._give(process, tasks.take())
            yield from self._receive(tasks)

    def _give(self, process: _Process[Item], task: list[Item]) -> None:
        streaming = {"num_returns": "streaming", "_generator_backpressure_num_objects": MAX_UNREAD}
        process.task, process.awaited = task, process.actor.answer.options(**streaming).remote(task)

    def _receive(self, tasks: Tasks[Item]) -> list[tuple[Item, Result | WorkerLostError]]:
        """Waits for the next event of any process, and returns what it brings."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        process = self._next_event()
        try:
            if process.is_ready:
                item, result = ray.get(next(process.awaited))
                process.task = [other for other in process.task if other != item]
                return [(item, result)]
            self._check_settings(ray.get(process.awaited))
            process.is_ready, process.awaited, self._failed_starts = True, None, 0
        except StopIteration:
            process.task, process.awaited = [], None
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, ThinkSegError) else error) from None
        except RayError as error:
            return list(self._replace(process, _reason(error), tasks))
        return []

    def _next_event(self) -> _Process[Item]:
        """Waits for a process that has an event. It goes to the end, so that a fast one does not hold up the others."""
        import ray

        waiting = {process.awaited: process for process in self._processes if process.awaited is not None}
        while True:
            ready, _ = ray.wait(list(waiting), timeout=CHECK_SECONDS, fetch_local=False)
            if ready:
                break
            if not free_places(self._gpus, in_use=True):
                raise ModelError("Ray: no machine is left that a worker fits on; start one, and run the command again")
        process = waiting[ready[0]]
        self._processes.remove(process)
        self._processes.append(process)
        return process

    def _check_settings(self, found: Mapping[str, Any]) -> None:
        """Raises SettingsError if a process would give other results than the first one."""
        self.settings = self.settings or found
        if differing := sorted(key for key in found if found[key] != self.settings.get(key)):
            raise SettingsError(
                f"Ray: workers differ in {', '.join(differing)}; give all machines the same models and versions"
            )

    def _replace(
        self, process: _Process[Item], reason: str, tasks: Tasks[Item]
    ) -> Iterator[tuple[Item, WorkerLostError]]:
        """Starts a process in place of one that died. Yields the items that are set aside."""
        self._processes.remove(process)
        _end(process)
        if not process.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise ModelError(f"Ray: {MAX_DEATHS} workers died while they loaded their models ({reason})")
        self._processes.append(self._started())
        yield from tasks.give_back(process.task, reason)

    def _started(self) -> _Process[Item]:
        import ray

        # Not restarted by Ray, which would send a whole task again.
        actor_class: Any = ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0)(_Actor)
        actor = actor_class.remote(self._make_ref, os.getcwd())
        return _Process(actor, actor.start.remote())

    def _end_all(self) -> None:
        for process in self._processes:
            _end(process)


def _end(process: _Process[Any]) -> None:
    import ray

    ray.kill(process.actor)


def _reason(error: Exception) -> str:
    """Returns why a process died, as far as Ray knows it."""
    if "SYSTEM_ERROR" in str(error):
        return "the process crashed or was killed, as for lack of memory"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[-1], MAX_REASON)


class _Actor:
    """What a process of Ray runs. folder: the working directory, from which relative paths start."""

    def __init__(self, make_worker: Callable[[], Worker[Any, Any]], folder: str) -> None:
        self._make_worker, self._folder = make_worker, folder

    def start(self) -> Mapping[str, Any]:
        """Loads the models, and returns the settings."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise SettingsError(
                f"{self._folder}: {error.strerror} on the machine of a worker; give all machines the same folders"
            ) from None
        self._worker = self._make_worker()
        return self._worker.settings

    def answer(self, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yields as `thinkseg.scale.workers.Worker.answer` does."""
        yield from self._worker.answer(items)
