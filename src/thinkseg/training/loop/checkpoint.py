"""Checkpoints of a training: trained parameters and optimizer states, written in parts by all processes.

    checkpoint-N/           after N steps, in the format of torch.distributed.checkpoint
    checkpoint-N/state.json {"global_step": N, "losses": those since the last line of the log}, written last

A checkpoint can be loaded by another number of processes. The learning rate, the data and the random numbers of a step
depend on the seed and the step only, and are not saved.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.models.model_files import reading
from thinkseg.storage.atomic import replace_json
from thinkseg.training import distributed
from thinkseg.training.checkpoints import STATE_FILE, last_checkpoint

if TYPE_CHECKING:
    import torch

RESUME = "resume from this checkpoint (remove it to start the stage again)"


def save_checkpoint(
    folder: Path, step: int, model: Any, optimizers: Sequence[torch.optim.Optimizer], losses: Sequence[float] = ()
) -> None:
    """Writes the checkpoint after a step, then removes the earlier ones. Every process must call it.

    losses: of steps that are not in the log yet.
    """
    import torch.distributed.checkpoint as dcp

    target = folder / f"checkpoint-{step}"
    with distributed.main_process_first():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, exist_ok=True)
    with _using_dcp() as no_dist:
        dcp.save(_state(model, optimizers), checkpoint_id=target, no_dist=no_dist)
    with distributed.main_process_first():
        if distributed.rank() == 0:
            replace_json({"global_step": step, "losses": list(losses)}, target / STATE_FILE)
            for earlier in set(folder.glob("checkpoint-*")) - {target}:
                shutil.rmtree(earlier)


def load_checkpoint(
    folder: Path, model: Any, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, Sequence[float]]:
    """Loads the last complete checkpoint, if any. Raises ModelError if it is damaged.

    Returns its number of steps, and the losses of steps that are not in the log yet.
    """
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return 0, ()
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    from thinkseg.training.loop.checkpoint_reading import DataPlanner, DataReader

    state = _state(model, optimizers)
    with reading(checkpoint, RESUME), _using_dcp() as no_dist:
        dcp.load(state, storage_reader=DataReader(checkpoint), planner=DataPlanner(), no_dist=no_dist)
        options = StateDictOptions(strict=False)
        set_state_dict(
            model, optimizers, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
        )
    return int(Path(checkpoint).name.rpartition("-")[2]), _losses(Path(checkpoint))


def _losses(checkpoint: Path) -> Sequence[float]:
    """Returns the losses in a checkpoint; none of an earlier version."""
    stored = json.loads((checkpoint / STATE_FILE).read_bytes()).get("losses", ())
    return [loss for loss in stored if isinstance(loss, float)] if isinstance(stored, list) else ()


def _state(model: Any, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(ignore_frozen_params=True)
    of_model, of_optimizers = get_state_dict(model, optimizers, options=options)
    return {"model": of_model, "optimizer": of_optimizers}


@contextmanager
def _using_dcp() -> Iterator[bool]:
    """Says whether there is only this process. Raises the first error of a process instead of a list of all."""
    import torch.distributed as dist
    from torch.distributed.checkpoint import CheckpointException

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        try:
            yield not dist.is_initialized()
        except CheckpointException as error:  # no Exception, but a BaseException
            raise next(iter(error.failures.values()))[0] from error
