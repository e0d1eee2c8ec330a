"""The training loop: micro-batches, gradients, update, log, checkpoints.

A method provides a `Task`, the data and the loss of a step. The number of processes does not change a step: each
computes a part of it, and gradients are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thinkseg.models.policies.sampling import mixed_seed
from thinkseg.training import distributed
from thinkseg.training.loop.checkpoint import load_checkpoint, save_checkpoint
from thinkseg.training.loop.log import RunLog
from thinkseg.training.loop.optimizers import create_optimizers, learning_rate
from thinkseg.training.loop.sharding import is_sharded
from thinkseg.training.recipes import OptimizationRecipe

if TYPE_CHECKING:
    import torch


class Task(Protocol):
    """The data and the loss of a method."""

    model: Any

    def micro_batches(self, step: int) -> Sequence[Any]:
        """Returns this process's part of a step. Every process has equally many."""

    def loss(self, batch: Any) -> torch.Tensor:
        """Returns a micro-batch's part of the loss, a scalar.

        The loss of the step is the sum over a process's micro-batches, averaged over processes.
        """

    def metrics(self) -> Mapping[str, float]:
        """Returns further values to log, of the step that has just ended."""

    @property
    def informative(self) -> bool:
        """Whether the step changes the weights. Gradients of zero would: momentum and weight decay still apply."""


def train(task: Task, settings: OptimizationRecipe, folder: Path, log: RunLog, seed: int) -> None:
    """Trains `task.model`, or resumes from the last checkpoint in `folder`.

    Random numbers, e.g. of dropout, depend on the seed, the step and the process only.
    """
    import torch

    model = task.model
    optimizers = create_optimizers(settings.optimizer, model, settings.learning_rate, settings.weight_decay)
    first, losses = load_checkpoint(folder, model, optimizers)
    log.begin(first, settings.num_steps, losses)
    model.train()
    for step in range(first, settings.num_steps):
        torch.manual_seed(mixed_seed(seed, step, distributed.rank()))
        log.add(step + 1, _step(task, optimizers, settings, step))
        if (step + 1) % settings.save_steps == 0:
            save_checkpoint(folder, step + 1, model, optimizers, log.losses)
    log.end()


def _step(
    task: Task, optimizers: Sequence[torch.optim.Optimizer], settings: OptimizationRecipe, step: int
) -> dict[str, float]:
    """One update. Returns the values to log."""
    loss = 0.0
    for batch in task.micro_batches(step):
        part = task.loss(batch)
        part.backward()
        loss += part.item()
    norm = _clip_gradients(task.model, settings.max_grad_norm)
    rate = learning_rate(settings, step)
    if task.informative:
        _update(optimizers, rate)
    task.model.zero_grad(set_to_none=True)
    losses = distributed.all_gather(loss)
    return {"loss": sum(losses) / len(losses), "grad_norm": norm, "learning_rate": rate, **task.metrics()}


def _clip_gradients(model: Any, max_norm: float) -> float:
    """Averages gradients over processes and scales them to a norm of at most `max_norm`. Returns the norm before."""
    from torch.nn.utils import clip_grad_norm_

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not is_sharded(model):  # FSDP2 has done it in the backward pass
        distributed.average_gradients(trained)
    norm: Any = clip_grad_norm_(trained, max_norm)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _update(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


def to_device(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the tensors of a batch to the device of this process."""
    device = distributed.device()
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
