import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import canned
from thinkseg.errors import SettingsError
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.training import distributed
from thinkseg.training.grpo import step
from thinkseg.training.grpo.metrics import joined


def losses(out: Path) -> list[tuple[float, float]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(r["loss"], r["grad_norm"]) for r in records if "loss" in r]


@pytest.mark.parametrize("way", ["grpo", "sft"])
def test_two_processes_learn_what_one_does(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The same losses, gradients and weights; of groups of unequal lengths, one of which teaches nothing."""
    script = [canned.__file__, way, str(qwen2_5), str(tmp_path / "two")]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script]
    done = subprocess.run(run, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setattr(step, "score_group", canned.score)
    monkeypatch.setattr(Engine, "decode", canned.decode)
    canned.train(way, qwen2_5, tmp_path / "one")
    assert losses(tmp_path / "one")[0][1] > 0
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=2e-6)
    weights = [load_model(tmp_path / run / "model", "fp32").state_dict() for run in ("one", "two")]
    before = load_model(qwen2_5, "fp32").state_dict()
    moved = max(float((weights[0][name] - before[name]).abs().max()) for name in before)
    apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in before)
    assert apart < moved / 20


def test_what_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (distributed.world_size(), distributed.rank(), distributed.per_process(3, "prompts")) == (1, 0, 3)
    assert distributed.all_gather("mine") == ["mine"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.per_process(6, "prompts") == 3
    with pytest.raises(SettingsError, match="prompts: 3 is no multiple of 2"):
        distributed.per_process(3, "prompts")


def test_figures_of_several_processes_are_joined() -> None:
    parts: list[dict[str, Any]] = [
        {"reward": 0.5, "failed/tags": 0.5, "tokens_most": 4.0, "tokens_a_second": 10.0},
        {"reward": 1.0, "kl": 0.2, "tokens_most": 9.0, "tokens_a_second": 20.0},
    ]
    assert joined(parts) == {
        "reward": 0.75,
        "failed/tags": 0.25,
        "tokens_most": 9.0,
        "tokens_a_second": 30.0,
        "kl": 0.2,
    }
    assert joined(parts[:1]) == parts[0]
