"""The optimizers of recipes.

"adamw" is AdamW. "muon" is Muon (Jordan et al., 2024) for the matrices inside the layers and AdamW for all other
parameters, with one learning rate (update sizes are matched as in arXiv 2502.16982). Models of a few million parameters
that are trained from scratch need fewer steps with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def create_optimizer(
    name: str, model: nn.Module, learning_rate: float, weight_decay: float, decayed: Iterable[str]
) -> torch.optim.Optimizer:
    """Creates the optimizer of a model's trainable parameters.

    name: "adamw" or "muon". decayed: names of the parameters that `weight_decay` applies to.
    """
    from torch.optim import AdamW, Muon

    decayed = set(decayed)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    hidden = {n for n, p in trained.items() if name == "muon" and n in decayed and p.ndim == 2 and in_layers(n)}
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in trained.items() if n not in hidden and n in decayed]},
        {"params": [p for n, p in trained.items() if n not in hidden and n not in decayed], "weight_decay": 0.0},
    ]
    adamw = AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
    if not hidden:
        return adamw
    muon = Muon(
        [trained[n] for n in sorted(hidden)],
        lr=learning_rate,
        weight_decay=weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return _combined(muon, adamw)


def in_layers(name: str) -> bool:
    """Whether a parameter belongs to a layer, not to the embeddings or heads."""
    return any(part in ("layers", "blocks", "merger") for part in name.split("."))


def _combined(*parts: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Combines optimizers of different parameters into one."""
    import torch

    class CombinedOptimizer(torch.optim.Optimizer):
        def __init__(self) -> None:
            self.parts = parts
            super().__init__([p for part in parts for group in part.param_groups for p in group["params"]], {})
            self._share_groups()

        def _share_groups(self) -> None:
            # The same objects, so that a learning rate set on this optimizer applies to its parts.
            self.param_groups = [group for part in self.parts for group in part.param_groups]

        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            for part in self.parts:
                part.step()
            return loss

        def state_dict(self) -> dict[str, Any]:
            return {"parts": [part.state_dict() for part in self.parts]}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            for part, state in zip(self.parts, state_dict["parts"], strict=True):
                part.load_state_dict(state)
            self._share_groups()

    return CombinedOptimizer()
