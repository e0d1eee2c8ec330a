"""Trainings on two processes equal those on one, sharded or not."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from canned import Case, train_all
from processes import run_processes
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.training import distributed
from thinkseg.training.loop.optimizers import create_optimizers
from thinkseg.training.loop.sharding import gathered, shard
from thinkseg.training.memory_plan import model_states
from thinkseg.training.model_stats import model_stats
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.trainer import trainable
from tinymodels import asked, picture, weights

TIMING = re.compile(r"_s$|^timing_s/|_time$|_per_second$")
SHARDED = (("sharding", "full"),)
WAYS = tuple(itertools.product(("grpo", "sft"), ("veason", "revseg"), (False, True)))
REPLICATED = (("grpo", "veason", False), ("sft", "veason", False))
RESUMED = (("grpo", "veason", False), ("sft", "revseg", True))


def cases(ways: Any = WAYS, **settings: Any) -> list[Case]:
    return [Case(method, chain, lora, **settings) for method, chain, lora in ways]


@pytest.fixture(scope="module")
def runs(qwen2_5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case in one process, in two with sharding, and some in two without."""
    out = tmp_path_factory.mktemp("runs")
    run_processes(1, train_all, cases(), qwen2_5, out / "one")
    run_processes(2, train_all, cases(changes=SHARDED), qwen2_5, out / "full")
    run_processes(2, train_all, cases(REPLICATED), qwen2_5, out / "none")
    return out


def read_metrics(out: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "stage" and not TIMING.search(k)} for r in records]


def gradient_error(one: Path, other: Path, step: int) -> float:
    """The norm of the difference of all gradients of a step, divided by their norm."""
    first, second = [torch.load(out / f"gradients-{step}.pt") for out in (one, other)]
    norms = [torch.cat([part.flatten() for part in parts]) for parts in (first, second)]
    return float((norms[0] - norms[1]).norm() / norms[0].norm())


def distance(one: Path, other: Path) -> float:
    """The largest difference of two weights."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize(
    ("sharding", "name"),
    [
        *(("full", case.name) for case in cases()),
        *(("none", case.name) for case in cases(REPLICATED)),
    ],
)
def test_train_two_processes_match_one(runs: Path, qwen2_5: Path, sharding: str, name: str) -> None:
    """Groups of unequal lengths, one of them uninformative. Rows of rollouts are padded differently, which rounds."""
    one, two = runs / "one" / name, runs / sharding / name
    for first, second in zip(read_metrics(one), read_metrics(two), strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-6, abs=1.5e-6)
        assert second == pytest.approx(first, rel=1e-4, abs=2e-6)
        assert first["grad_norm"] > 0
    assert gradient_error(one, two, 0) < 2e-6
    assert gradient_error(one, two, 2) < 2e-5  # after two updates
    assert distance(one / "model", two / "model") < distance(qwen2_5, one / "model") / 100


@pytest.mark.parametrize("name", [case.name for case in cases(REPLICATED)])
def test_train_sharded_gradients_match_replicated_ones(runs: Path, name: str) -> None:
    assert gradient_error(runs / "none" / name, runs / "full" / name, 0) < 1e-6
    assert gradient_error(runs / "none" / name, runs / "full" / name, 2) < 1e-5


def test_train_sharded_resumes_on_other_numbers_of_processes(runs: Path, qwen2_5: Path, tmp_path: Path) -> None:
    """Two processes, then one, then two, a step each."""
    changes = (*SHARDED, ("save_steps", 1))
    for processes, step in ((2, 1), (1, 2), (2, 0)):
        run_processes(processes, train_all, cases(RESUMED, changes=changes, stop_after=step), qwen2_5, tmp_path)
    for case in cases(RESUMED):
        straight, resumed = runs / "full" / case.name, tmp_path / case.name
        assert distance(straight / "model", resumed / "model") < distance(qwen2_5, resumed / "model") / 100


def test_train_sharded_with_checkpointing_and_offload_matches_without(
    runs: Path, qwen2_5: Path, tmp_path: Path
) -> None:
    changes = (*SHARDED, ("gradient_checkpointing", True), ("cpu_offload", True))
    chosen = cases(RESUMED, changes=changes)
    run_processes(2, train_all, chosen, qwen2_5, tmp_path)
    for case in chosen:
        assert gradient_error(runs / "full" / case.name, tmp_path / case.name, 2) < 1e-6
        assert distance(runs / "full" / case.name / "model", tmp_path / case.name / "model") < 1e-6


def test_train_sharded_in_bf16_stays_near_fp32(runs: Path, qwen2_5: Path, tmp_path: Path) -> None:
    """Parameters and their reference are gathered in bf16; the first KL is exactly 0."""
    changes = (*SHARDED, ("precision", "bf16"))
    run_processes(2, train_all, cases(RESUMED, changes=changes), qwen2_5, tmp_path)
    for case in cases(RESUMED):
        assert 0 < gradient_error(runs / "full" / case.name, tmp_path / case.name, 0) < 0.1
    assert read_metrics(tmp_path / cases(RESUMED)[0].name)[0]["kl"] == 0


def check_decoding(folder: Path) -> None:
    """Runs in each of two processes, whose replies have different lengths."""
    encoder, recipe = Encoder.load(folder), ModelRecipe(name=str(folder), lora=Lora(rank=2))
    dialogues = encoder.encode_group([(asked("Where?", [picture(0)]),)])
    sampling = SamplingParams(max_new_tokens=3 + 3 * distributed.rank())
    completions = []
    for prepare in (lambda model: model, lambda model: shard(model, bf16=False)):
        model = prepare(trainable(load_model(folder, "fp32"), recipe, False)).eval()
        with gathered(model), torch.no_grad():
            engine = Engine(model, encoder, device=distributed.device())
            completions.append(engine.decode(engine.prefill(dialogues), [0, 0], sampling))
    assert completions[0] == completions[1]


def test_decode_sharded_model_gives_same_tokens(qwen2_5: Path) -> None:
    run_processes(2, check_decoding, qwen2_5)


def check_parts(folder: Path) -> None:
    """Runs in each of two processes."""
    states = model_states(model_stats(folder), ModelRecipe(name=str(folder)), "adamw", bf16=True, sharded=True)
    model = shard(trainable(load_model(folder, "fp32"), ModelRecipe(name=str(folder)), False), bf16=True)
    (optimizer,) = create_optimizers("adamw", model, 1e-3, 0.0)
    row = torch.arange(30, 40)[None]
    for _ in range(2):
        with gathered(model), torch.no_grad():
            for _ in range(1 + 3 * distributed.rank()):  # without a process that waits for another
                model(input_ids=row)
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
        model(input_ids=row).logits.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    local = [state.to_local() for of_one in optimizer.state.values() for state in of_one.values() if state.ndim]
    assert 2 * sum(state.nbytes for state in local) == pytest.approx(states.optimizer, rel=0.02)
    assert 2 * sum(p.to_local().nbytes for p in model.parameters()) == pytest.approx(states.weights, rel=0.02)


def check_precisions(folder: Path) -> None:
    """Weights that are stored in bf16."""
    recipe = ModelRecipe(name=str(folder), train_vision=False)
    for bf16, frozen in ((True, torch.bfloat16), (False, torch.float32)):
        model = load_model(folder, "stored")
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        sharded = shard(trainable(model, recipe, False), bf16)
        assert {p.dtype for p in sharded.parameters() if p.requires_grad} == {torch.float32}
        assert {p.dtype for p in sharded.parameters() if not p.requires_grad} == {frozen}


def test_shard_stored_weights_get_the_precision_of_training(qwen2_5: Path, tmp_path: Path) -> None:
    load_model(qwen2_5, "bf16").save_pretrained(tmp_path)
    run_processes(1, check_precisions, tmp_path)


def test_shard_holds_half_in_each_of_two_processes(qwen2_5: Path) -> None:
    """As `train plan` says. Parameters with an odd number of rows are padded."""
    run_processes(2, check_parts, qwen2_5)
