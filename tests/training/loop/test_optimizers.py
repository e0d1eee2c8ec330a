import copy

import pytest
import torch
from torch import nn
from transformers import get_scheduler

from thinkseg.training.loop.optimizers import create_optimizers, learning_rate
from thinkseg.training.recipes import OptimizationRecipe, Scheduler


class Net(nn.Module):
    """A network with the parameter names of an embedding, one layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 6)])
        self.head = nn.Linear(6, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.layers[0](self.embed(ids)))).square().sum()


DECAYED = ["embed.weight", "layers.0.weight", "head.weight"]


def optimizers_of(name: str, net: Net, learning_rate: float = 0.01) -> list[torch.optim.Optimizer]:
    return create_optimizers(name, net, learning_rate, 0.1)


def step(net: Net, *optimizers: torch.optim.Optimizer) -> None:
    net(torch.arange(5)).backward()
    for optimizer in optimizers:
        optimizer.step()
    net.zero_grad()


def same(one: Net, other: Net) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_step_matches_torch_optimizers(name: str) -> None:
    net, twin = Net(), Net()
    hidden = [twin.layers[0].weight] if name == "muon" else []
    rest = [p for n, p in twin.named_parameters() if n in DECAYED and all(p is not h for h in hidden)]
    plain = [p for n, p in twin.named_parameters() if n not in DECAYED]
    stock: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1, fused=True),
        torch.optim.AdamW(plain, lr=0.01, weight_decay=0.0, fused=True),
    ]
    if hidden:
        stock.append(torch.optim.Muon(hidden, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    ours = optimizers_of(name, net)
    for _ in range(3):
        step(net, *ours)
        step(twin, *stock)
    assert same(net, twin)
    assert not same(net, Net())


def test_create_optimizers_muon_has_each_parameter_once() -> None:
    net = Net()
    held = [p for part in optimizers_of("muon", net) for group in part.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(net.parameters()))


def test_step_keeps_frozen_parameters() -> None:
    net = Net()
    net.layers.requires_grad_(False)
    before = copy.deepcopy(net.layers[0].weight)
    step(net, *optimizers_of("muon", net))
    assert torch.equal(net.layers[0].weight, before)


@pytest.mark.parametrize("kind", ["constant", "constant_with_warmup", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 3])
def test_learning_rate_matches_transformers(kind: Scheduler, warmup: float) -> None:
    settings = OptimizationRecipe(steps=10, learning_rate=0.5, lr_scheduler_type=kind, warmup_steps=warmup)
    stock = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = get_scheduler(kind, stock, num_warmup_steps=3 if warmup else 0, num_training_steps=10)
    for number in range(10):
        assert learning_rate(settings, number) == pytest.approx(stock.param_groups[0]["lr"], rel=1e-12)
        stock.step()
        schedule.step()
