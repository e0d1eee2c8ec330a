"""The optimizers of recipes, and their learning rate.

"adamw" is AdamW. "muon" is Muon (Jordan et al., 2024) for the matrices inside the layers and AdamW for all other
parameters, with one learning rate (update sizes are matched as in arXiv 2502.16982). Models of a few million parameters
that are trained from scratch need fewer steps with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thinkseg.training.recipes import OptimizationRecipe

if TYPE_CHECKING:
    import torch
    from torch import nn


def create_optimizers(
    name: str, model: nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Creates the optimizers of a model's trainable parameters, each of which has one.

    name: "adamw" or "muon". weight_decay: of matrices; biases and the scales of norms have none.
    """
    from torch.optim import AdamW, Muon

    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    hidden = {n: p for n, p in trained.items() if name == "muon" and p.ndim == 2 and in_layers(n)}
    rest = [p for n, p in trained.items() if n not in hidden]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1]},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    made: list[torch.optim.Optimizer] = []
    if rest:
        used = [group for group in groups if group["params"]]
        made.append(AdamW(used, lr=learning_rate, weight_decay=weight_decay, fused=True))
    if hidden:
        settings: Mapping[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
        made.append(Muon(list(hidden.values()), adjust_lr_fn="match_rms_adamw", **settings))
    return made


def in_layers(name: str) -> bool:
    """Whether a parameter belongs to a layer, not to the embeddings or heads."""
    return any(part in ("layers", "blocks", "merger") for part in name.split("."))


def learning_rate(settings: OptimizationRecipe, step: int) -> float:
    """Returns the learning rate of a step, counted from 0; the schedules are those of `transformers`."""
    kind, total = settings.lr_scheduler_type, settings.num_steps
    warmup = math.ceil(total * given) if (given := settings.warmup_steps) < 1 else int(given)
    if kind == "constant":
        return settings.learning_rate
    if step < warmup:
        return settings.learning_rate * step / warmup
    done = (step - warmup) / max(1, total - warmup)
    left = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant_with_warmup": 1.0}[kind]
    return settings.learning_rate * left
