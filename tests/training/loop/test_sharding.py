"""Trainings on two processes equal those on one, sharded or not."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from canned import Case, train_all
from processes import run_processes
from thinkseg.models.policies.qwen.checkpoint import load_model
from tinymodels import weights

TIMING = re.compile(r"_s$|^timing_s/|_time$|_per_second$")
SHARDED = (("sharding", "full"),)


def cases(**settings: Any) -> list[Case]:
    ways = itertools.product(("grpo", "sft"), ("veason", "revseg"), (False, True))
    return [Case(method, chain, lora, **settings) for method, chain, lora in ways]


NAMES = [case.name for case in cases()]


@pytest.fixture(scope="module")
def runs(qwen2_5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case in one process, and in two processes with either kind of sharding."""
    out = tmp_path_factory.mktemp("runs")
    run_processes(1, train_all, cases(), qwen2_5, out / "one")
    run_processes(2, train_all, cases(), qwen2_5, out / "none")
    run_processes(2, train_all, cases(changes=SHARDED), qwen2_5, out / "full")
    return out


def read_metrics(out: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "stage" and not TIMING.search(k)} for r in records]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_train_two_processes_matches_one(runs: Path, qwen2_5: Path, sharding: str, name: str) -> None:
    one, two = runs / "one" / name, runs / sharding / name
    for first, second in zip(read_metrics(one), read_metrics(two), strict=True):
        print(name, sharding, first["loss"], second["loss"], first["grad_norm"], second["grad_norm"])
    for path in sorted(one.glob("gradients-*.pt")):
        pairs = list(zip(torch.load(path), torch.load(two / path.name), strict=True))
        worst = max(float((a - b).norm() / (a.norm() + 1e-12)) for a, b in pairs)
        total = sum(float((a - b).norm()) ** 2 for a, b in pairs) ** 0.5 / sum(float(a.norm()) ** 2 for a, b in pairs) ** 0.5
        print("gradients", path.name, worst, total)
    before, first, second = (weights(folder) for folder in (qwen2_5, one / "model", two / "model"))
    moved = max(float((first[n] - before[n]).abs().max()) for n in before)
    apart = max(float((first[n] - second[n]).abs().max()) for n in before)
    print("moved", moved, "apart", apart)
