"""Rollouts and training with a real vLLM.

In this order: adapters need the weights that the server starts with, and later tests replace these.
"""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg.chains import CHAINS
from thinkseg.data.shapes import load as load_shapes
from thinkseg.models import bundled_policy_for, load_policy, resolve_model
from thinkseg.models.policies.qwen.checkpoint import load, load_view
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.pipeline import run_chains
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, Rollout
from thinkseg.training.grpo.rollouts import roll_out
from thinkseg.training.grpo.servers import connect
from thinkseg.training.grpo.serving import ServerProcess
from thinkseg.training.grpo.train import train
from thinkseg.training.grpo.vllm_rollouts import VllmRollouts
from thinkseg.training.grpo.weight_sync import WeightSync
from thinkseg.training.log_probs import token_logprobs
from thinkseg.training.loop.log import RunLog
from thinkseg.training.packing import collate, pack
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.trainer import resolve_view, trainable
from thinkseg.types import Outcome

REWARDS = {
    "veason": {"format": 1.0, "keyframe": 1.0, "boxes": 1.0},
    "revseg": {"format_graded": 1.0, "keyframe_soft": 1.0, "box_hit": 1.0},
}
TOLERANCE = 1e-4
"""Mean difference of the log-probabilities of both engines in fp32, in nats. Measured: 1e-6 to 1e-5."""


def policy(chain: str, sync: str) -> tuple[Any, Any, Any]:
    """The bundled policy of a chain, with an adapter for that sync; its encoder and view."""
    name = resolve_model(bundled_policy_for(chain))
    model, encoder = load(name, "fp32")
    source = ModelRecipe(name=str(name), lora=Lora(rank=8) if sync == "adapter" else None)
    return trainable(model, source, False), encoder, resolve_view(load_view(name), model, encoder)


def rollout(vllm: ServerProcess, sync: Any) -> Rollout:
    return Rollout(engine="vllm", servers=(vllm.command.url,), sync=sync)


def logprob_difference(model: Any, encoder: Any, outcomes: list[Outcome]) -> float:
    """The mean difference of the sampled tokens' log-probabilities here and in vLLM."""
    row = pack(encoder.encode_group([outcome.dialogue for outcome in outcomes]), encoder.image_pad_id)
    with torch.no_grad():
        ours = token_logprobs(model, collate([row], encoder.pad_id)).logp.numpy()
    replies: Any = [reply for outcome in outcomes for reply in outcome.dialogue[1::2]]
    return float(np.abs(ours - np.concatenate([reply.logprobs for reply in replies])).mean())


def shift(model: Any) -> None:
    """Changes all trained weights."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))


def check_sync(vllm: ServerProcess, chain: str, sync: str, out: Path) -> list[Outcome]:
    """Rolls out before and after a change of the weights. vLLM must have the weights of the training both times."""
    model, encoder, view = policy(chain, sync)
    weights = WeightSync(connect(rollout(vllm, sync)), out, sync == "adapter")
    served = VllmRollouts(weights, encoder, view, SamplingParams(1.0, 400))
    prompts = PromptDataset([PromptSource(name="shapes")], view.num_frames, seed=0)
    outcomes: list[Outcome] = []
    for step in range(2):
        served.sync(model, step)
        for group in roll_out([prompts[0], prompts[1]], CHAINS[chain], served, view, 3, [0, 1]):
            difference = logprob_difference(model, encoder, group)
            print(f"{chain}, {sync}: log-probabilities differ by {difference:.1e} on average")
            assert difference < TOLERANCE
            outcomes += group
        shift(model)
    assert logprob_difference(model, encoder, outcomes[:3]) > TOLERANCE
    served.close()
    return outcomes


def trained(chain: str, vllm: ServerProcess, sync: str, out: Path) -> list[dict[str, Any]]:
    """The log of three steps."""
    closeup = {"closeup_wh": (224, 224)} if chain == "revseg" else {}
    recipe = GrpoRecipe(
        model=ModelRecipe(name=bundled_policy_for(chain), lora=Lora(rank=8) if sync == "adapter" else None),
        data=(PromptSource(name="shapes"),),
        chain=chain,
        rewards=REWARDS[chain],
        num_frames=4,
        frame_wh=(112, 112),
        steps=3,
        prompts_per_step=2,
        num_generations=3,
        max_new_tokens=400,
        learning_rate=1e-3,
        precision="fp32",
        rollout=rollout(vllm, sync),
        **closeup,  # type: ignore[arg-type]
    )
    train(recipe, out)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def check_log(records: list[dict[str, Any]]) -> None:
    assert [record["step"] for record in records] == [1, 2, 3]
    for record in records:
        assert record["importance_weight/mean"] == pytest.approx(1, abs=1e-3)
        assert record["importance_weight/truncated"] == 0
    assert records[-1]["kl"] > 0  # it has learned


def test_endpoint_replies_match_local_policy(vllm: ServerProcess) -> None:
    name = bundled_policy_for("veason")
    local: Any = load_policy(name, precision="fp32")
    served = load_policy(f"openai:shapes@{vllm.command.url}/v1", coordinates="pixels")
    samples = [load_shapes("val", index) for index in range(2)]
    replies = [
        [one.replies for one in run_chains([CHAINS["veason"](s, local.view) for s in samples], asked)]
        for asked in (local, served)
    ]
    assert replies[0] == replies[1]


def test_adapter_sync_changes_served_policy(vllm: ServerProcess, tmp_path: Path) -> None:
    check_sync(vllm, "veason", "adapter", tmp_path)


def test_train_adapter_server_killed_between_steps_continues(
    vllm: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = RunLog.add

    def restart(self: RunLog, step: int, values: Any) -> None:
        add(self, step, values)
        if step == 1:
            vllm.stop([signal.SIGKILL])
            vllm.start()

    monkeypatch.setattr(RunLog, "add", restart)
    check_log(trained("veason", vllm, "adapter", tmp_path))
    assert capsys.readouterr().err.count("all servers are down; waiting for one") == 1


def test_weight_sync_revseg_second_turns_match(vllm: ServerProcess, tmp_path: Path) -> None:
    """The server has started with the policy of another chain."""
    outcomes = check_sync(vllm, "revseg", "weights", tmp_path)
    assert any(len(outcome.replies) == 2 for outcome in outcomes)


def test_train_weights_three_steps(vllm: ServerProcess, tmp_path: Path) -> None:
    check_log(trained("revseg", vllm, "weights", tmp_path))
