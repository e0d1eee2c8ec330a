import copy

import pytest
import torch
from torch import nn

from thinkseg.training.optimizers import create_optimizer


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


def optimizer_of(name: str, net: Net, learning_rate: float = 0.01) -> torch.optim.Optimizer:
    return create_optimizer(name, net, learning_rate, 0.1, DECAYED)


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
    ours = optimizer_of(name, net)
    for _ in range(3):
        step(net, ours)
        step(twin, *stock)
    assert same(net, twin)
    assert not same(net, Net())


def test_create_optimizer_muon_has_each_parameter_once() -> None:
    net = Net()
    held = [p for group in optimizer_of("muon", net).param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(net.parameters()))


def test_step_keeps_frozen_parameters() -> None:
    net = Net()
    net.layers.requires_grad_(False)
    before = copy.deepcopy(net.layers[0].weight)
    step(net, optimizer_of("muon", net))
    assert torch.equal(net.layers[0].weight, before)


def test_scheduler_sets_learning_rate_of_both_parts() -> None:
    net = Net()
    optimizer = optimizer_of("muon", net)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda count: 0.0 if count else 1.0)
    step(net, optimizer)
    schedule.step()
    before = copy.deepcopy(net)
    step(net, optimizer)
    assert same(net, before)


def test_load_state_dict_resumes_identically() -> None:
    net = Net()
    optimizer = optimizer_of("muon", net)
    step(net, optimizer)
    twin, state = copy.deepcopy(net), copy.deepcopy(optimizer.state_dict())
    other = optimizer_of("muon", twin, learning_rate=9.0)  # replaced by the rate of the loaded state
    other.load_state_dict(state)
    for _ in range(2):
        step(net, optimizer)
        step(twin, other)
    assert same(net, twin)
    for group in other.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(twin)
    step(twin, other)
    assert same(twin, before)
