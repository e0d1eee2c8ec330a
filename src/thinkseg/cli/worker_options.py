"""How many processes do the work of a command, and where: `thinkseg.scale`."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, TypeVar

from thinkseg.cli import parsers
from thinkseg.cli.declare import option
from thinkseg.console import Progress, warn
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.scale.ray_cluster import Placement
    from thinkseg.scale.workers import Worker, WorkerLostError

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

INSTALL = "Ray is not installed: pip install 'thinkseg[ray]'"


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Processes of Ray that share the work; without any of these options, this process does it."""

    workers: Annotated[int, option(parsers.count, "N", "processes that share the work by video, on Ray")] = 1
    ray: Annotated[
        str | None,
        option(
            parsers.ray_address,
            "[ADDRESS]",
            "run them on a cluster: HOST:PORT of its head, or auto; without ADDRESS, on this machine",
        ),
    ] = None
    gpus_per_worker: Annotated[
        float | None, option(parsers.gpus, "F", "GPUs of each, such as 0.5 (default: 1 where Ray has some, 0 on cpu)")
    ] = None

    def placement(self, device: str | None = None, logs: bool = False) -> Placement | None:
        """Where the workers run; None for this process alone, also if Ray is not installed and not asked for.

        device: of the models. logs: print what workers print.
        Raises SettingsError if Ray is needed and not installed, or for options that exclude one another.
        """
        from thinkseg.scale.ray_cluster import LOCAL, Placement

        if self.ray is None and self.workers == 1:
            if self.gpus_per_worker is not None:
                raise SettingsError("--gpus-per-worker: needs workers; give --ray, or --workers 2 or more")
            return None
        if find_spec("ray") is None:
            if self.ray is not None or self.gpus_per_worker is not None:
                raise SettingsError(f"{'--gpus-per-worker' if self.ray is None else '--ray'}: {INSTALL}")
            warn(f"--workers {self.workers}: {INSTALL}; one process does the work")
            return None
        if device and re.fullmatch(r"[a-z]+:\d+", device):
            raise SettingsError(f"--device: {device!r} is one device, and Ray gives each worker its own; give cuda")
        gpus = 0.0 if self.gpus_per_worker is None and device == "cpu" else self.gpus_per_worker
        return Placement(self.workers, self.ray or LOCAL, gpus, logs)


def open_workers(
    make_worker: Callable[[], Worker[Item, Result]],
    placement: Placement | None,
    progress: Progress,
    video_of: Callable[[Item], str],
    batch_size: int = 1,
) -> AbstractContextManager[Worker[Item, Result | WorkerLostError]]:
    """The workers as one; without a placement, the only one, in this process. See `thinkseg.scale.ray_workers`."""
    if placement is None:
        return nullcontext(make_worker())
    from thinkseg.scale.ray_workers import RayWorkers

    progress.show(f"starting {placement.workers} workers")
    return RayWorkers(make_worker, placement, video_of, batch_size)
