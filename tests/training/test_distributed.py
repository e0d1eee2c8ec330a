import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import canned
from thinkseg.errors import SettingsError
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.training import distributed
from thinkseg.training.grpo import step

TIMING = re.compile(r"_s$|^timing_s/|_time$|_per_second$")


def read_metrics(out: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "stage" and not TIMING.search(k)} for r in records if "loss" in r]


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_train_two_processes_matches_one(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Losses, gradient norms, weights and metrics, for groups of unequal lengths, one of them uninformative."""
    script = [canned.__file__, method, str(qwen2_5), str(tmp_path / "two")]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script]
    done = subprocess.run(run, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setattr(step, "score_group", canned.score)
    monkeypatch.setattr(Engine, "decode", canned.decode)
    canned.train(method, qwen2_5, tmp_path / "one")
    assert read_metrics(tmp_path / "one")[0]["grad_norm"] > 0
    for one, two in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=2e-6)
    weights = [load_model(tmp_path / run / "model", "fp32").state_dict() for run in ("one", "two")]
    before = load_model(qwen2_5, "fp32").state_dict()
    moved = max(float((weights[0][name] - before[name]).abs().max()) for name in before)
    apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in before)
    assert apart < moved / 20


def test_per_process_unequal_parts_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (distributed.world_size(), distributed.rank(), distributed.per_process(3, "prompts")) == (1, 0, 3)
    assert distributed.all_gather("mine") == ["mine"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.per_process(6, "prompts") == 3
    with pytest.raises(SettingsError, match="prompts: 3 is not a multiple of 2"):
        distributed.per_process(3, "prompts")
