import json
import math
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from processes import run_processes
from scriptedvllm import ScriptedVllm
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Completion, Engine
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.policies.vllm import GENERATE, LOAD_ADAPTER, RPC
from thinkseg.rewards.groups import RolloutScore
from thinkseg.training.grpo import step
from thinkseg.training.grpo import train as grpo
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, Rollout
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.grpo.train import train
from thinkseg.training.loop import run
from thinkseg.training.loop.log import RunLog
from thinkseg.training.recipes import Lora, ModelRecipe
from tinymodels import asked, changed, picture

STEPS = 4
TIMING = re.compile(r"_s$|^timing_s/|_time$|_per_second$")


def recipe(folder: Path, lora: bool = False, **changes: Any) -> GrpoRecipe:
    settings: dict[str, Any] = {
        "rewards": {"format": 1.0, "keyframe": 1.0, "boxes": 1.0},
        "steps": STEPS,
        "num_frames": 2,
        "frame_wh": (56, 56),
        "prompts_per_step": 2,
        "num_generations": 4,
        "learning_rate": 1e-3,
        "max_new_tokens": 8,
        "save_steps": 2,
        "log_rollouts_steps": 3,
        "precision": "fp32",
    }
    model = ModelRecipe(name=str(folder), lora=Lora(rank=2) if lora else None)
    return GrpoRecipe(model=model, data=(PromptSource(name="shapes"),), **settings | changes)


@pytest.fixture
def rewarded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards long replies, because a random model never gives a usable answer."""

    def longer(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[Any]:
        return [RolloutScore(dict.fromkeys(weights), len(str(o.replies)) / 100) for o in outcomes]

    monkeypatch.setattr(step, "score_group", longer)


def log(out: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [record for record in records if "loss" in record]


@pytest.mark.usefixtures("rewarded_length")
@pytest.mark.parametrize("lora", [False, True])
def test_train_writes_policy_log_and_pages(qwen2_5: Path, tmp_path: Path, lora: bool) -> None:
    made = train(recipe(qwen2_5, lora), tmp_path)
    assert made == tmp_path / "model"
    QwenPolicy.load(made, device="cpu", max_new_tokens=2).reply([(asked("Where?", [picture(0)]),)])
    moved = changed(qwen2_5, made)
    assert moved
    assert not any("visual" in name for name in moved)  # the tower is frozen
    records = log(tmp_path)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert all(math.isfinite(record["loss"]) and record["grad_norm"] > 0 for record in records)
    first = records[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)  # the policy is still its reference
    assert records[-1]["kl"] > 0
    assert 0 < first["entropy"] < math.log(len(Encoder.load(qwen2_5).tokenizer)) + 0.1
    assert first["parse_rate"] == 0
    assert sum(v for k, v in first.items() if k.startswith("parse_failure/")) == pytest.approx(1)
    assert {
        "timing_s/rollout",
        "timing_s/reward",
        "timing_s/update",
        "step_time",
        "reward_std",
        "rollout_tokens_per_second",
        "completions/mean_length",
        "frac_reward_zero_std",
    } <= first.keys()
    pages = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert pages == ["step-000000.html", "step-000003.html"]
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.usefixtures("rewarded_length")
@pytest.mark.parametrize("lora", [False, True])
def test_train_bf16_first_kl_is_exactly_0(qwen2_5: Path, tmp_path: Path, lora: bool) -> None:
    train(recipe(qwen2_5, lora, precision="bf16", steps=2, log_rollouts_steps=0), tmp_path)
    first, second = (record["kl"] for record in log(tmp_path))
    assert first == 0
    assert second > 0


class Killed(BaseException):
    """Stands for SIGKILL: no handler catches it."""


@pytest.mark.usefixtures("rewarded_length")
@pytest.mark.parametrize("lora", [False, True])
def test_train_killed_run_resumes_to_same_weights(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool
) -> None:
    """Killed after step 15, between two checkpoints: the log and the weights equal those of an uninterrupted run."""
    wanted = recipe(
        qwen2_5,
        lora,
        steps=30,
        save_steps=4,
        prompts_per_step=1,
        num_generations=3,
        max_new_tokens=4,
        log_rollouts_steps=0,
    )
    train(wanted, tmp_path / "straight")

    def add(self: RunLog, number: int, values: Any) -> None:
        if number == 15:
            raise Killed
        log_step(self, number, values)

    log_step = RunLog.add
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "add", add)
        with pytest.raises(Killed):
            train(wanted, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    train(wanted, tmp_path / "killed")
    assert changed(tmp_path / "straight" / "model", tmp_path / "killed" / "model") == set()
    timeless = [
        [{k: v for k, v in record.items() if not TIMING.search(k)} for record in log(out)]
        for out in (tmp_path / "straight", tmp_path / "killed")
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 30


@pytest.mark.usefixtures("rewarded_length")
def test_train_resumed_without_optimizer_state_ends_with_other_weights(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which shows that equal weights after an interruption prove the state restored."""
    wanted = recipe(qwen2_5, steps=3, save_steps=2, max_new_tokens=4, log_rollouts_steps=0)
    straight = train(wanted, tmp_path / "straight")

    def forgetful(folder: Path, model: Any, optimizers: Any) -> Any:
        found = load(folder, model, optimizers)
        for optimizer in optimizers:
            optimizer.state.clear()
        return found

    def add(self: RunLog, number: int, values: Any) -> None:
        if number == 3:
            raise Killed
        log_step(self, number, values)

    load, log_step = run.load_checkpoint, RunLog.add
    for name, loader in (("restored", load), ("forgotten", forgetful)):
        with monkeypatch.context() as patch:
            patch.setattr(RunLog, "add", add)
            with pytest.raises(Killed):
                train(wanted, tmp_path / name)
        monkeypatch.setattr(run, "load_checkpoint", loader)
        train(wanted, tmp_path / name)
    assert changed(straight, tmp_path / "restored" / "model") == set()
    assert changed(straight, tmp_path / "forgotten" / "model")


def test_train_equal_rewards_keeps_weights(qwen2_5: Path, tmp_path: Path) -> None:
    """A random model never gives a usable answer, so all rewards are equal."""
    made = train(recipe(qwen2_5, steps=2, weight_decay=0.1), tmp_path)
    assert changed(qwen2_5, made) == set()
    assert [(r["step"], r["loss"], r["grad_norm"], r["frac_reward_zero_std"]) for r in log(tmp_path)] == [
        (1, 0, 0, 1),
        (2, 0, 0, 1),
    ]


def test_train_reward_for_short_replies_shortens_replies(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shorter(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[Any]:
        return [RolloutScore(dict.fromkeys(weights), -o.num_tokens) for o in outcomes]

    monkeypatch.setattr(step, "score_group", shorter)
    wanted = recipe(
        qwen2_5, steps=40, num_generations=8, learning_rate=1e-2, beta=0.0, max_new_tokens=6, log_rollouts_steps=0
    )
    train(wanted.model_copy(update={"save_steps": 100}), tmp_path)
    records = log(tmp_path)
    lengths = [record["completions/mean_length"] for record in records]
    assert sum(lengths[:5]) / 5 > 5
    assert sum(lengths[-5:]) / 5 < 3
    assert all("kl" not in record for record in records)  # there is no reference


def test_train_revseg_trains_on_both_turns(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies are usable and have different rewards."""
    turns: list[str] = []

    def decode(self: Engine, prefix: Any, rows: Any, *_: Any) -> list[Completion]:
        first = not turns or turns[-1] == "where"
        turns.append("when" if first else "where")
        lines = []
        for number in range(len(rows)):
            if first:
                lines.append(
                    f'<think>So.</think><answer>[{{"frame_idx": {number % 2}, "object description": "it"}}]</answer>'
                )
            else:
                lines.append(f'[{{"bbox_2d": [{10 * (number % 4)}, 5, 50, 50]}}]')
        ids = [self.encoder.tokenizer(line, add_special_tokens=False)["input_ids"] for line in lines]
        return [Completion((*line, self.encoder.end_id), False) for line in ids]

    monkeypatch.setattr(Engine, "decode", decode)
    chosen = {"format_graded": 1.0, "keyframe_soft": 1.0, "boxes": 1.0}
    wanted = recipe(qwen2_5, chain="revseg", rewards=chosen, steps=3, closeup_wh=(84, 84), prompts_per_step=3)
    made = train(wanted, tmp_path)
    assert turns == ["when", "where"] * 3
    assert changed(qwen2_5, made)
    for record in log(tmp_path):
        assert record["parse_rate"] == record["rewards/format_graded/mean"] == 1
        assert record["keyframe_position/0"] == record["keyframe_position/1"] == 0.5
        assert math.isfinite(record["loss"])
    assert max(record["rewards/boxes/mean"] for record in log(tmp_path)) > 0


@pytest.mark.parametrize(
    ("where", "setting"), [("roll_out", "max_cache_tokens"), ("policy_loss", "gradient_checkpointing")]
)
@pytest.mark.usefixtures("rewarded_length")
def test_train_out_of_memory_raises_with_setting_to_lower(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, setting: str
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(step, where, full)
    with pytest.raises(ModelError, match=setting):
        train(recipe(qwen2_5), tmp_path)


def test_train_folder_of_other_recipe_raises(qwen2_5: Path, tmp_path: Path) -> None:
    train(recipe(qwen2_5, steps=1), tmp_path)
    with pytest.raises(SettingsError, match="another recipe"):
        train(recipe(qwen2_5, steps=2), tmp_path)


def test_train_finished_run_returns_model(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(qwen2_5, steps=1), tmp_path)
    monkeypatch.setattr(grpo, "_trained", None)
    assert train(recipe(qwen2_5, steps=1), tmp_path) == tmp_path / "model"


def test_train_reward_consistency_loads_tracker_of_recipe(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rewards load no tracker."""
    given: list[Any] = []
    score = step.score_group
    monkeypatch.setattr(step, "score_group", lambda *a: given.append(a[3]) or score(*a))
    train(recipe(qwen2_5, steps=1, rewards={"consistency": 1.0}), tmp_path / "with")
    train(recipe(qwen2_5, steps=1), tmp_path / "without")
    assert {None if tracker is None else tracker.name for tracker in given[:2]} == {"flow"}
    assert set(given[2:]) == {None}


def test_rollouts_depend_on_step_and_seed_only(qwen2_5: Path, tmp_path: Path) -> None:
    def replies(seed: int, step: int, warm: bool) -> list[Any]:
        wanted = recipe(qwen2_5, seed=seed)
        encoder = Encoder.load(qwen2_5)
        prompts = PromptDataset(wanted.data, wanted.num_frames, wanted.seed)
        one = GrpoStep(wanted, prompts, load_model(qwen2_5, "fp32"), None, encoder, wanted.view, tmp_path)
        if warm:
            one.prepare([4, 5], step - 1)
        outcomes = one._roll_out([one.prompts[n] for n in (2, 3)], (2, 3), step)
        return [outcome.replies for _, group in outcomes for outcome in group]

    assert replies(0, 1, warm=False) == replies(0, 1, warm=True)
    assert replies(0, 1, warm=False) != replies(0, 2, warm=False)
    assert replies(0, 1, warm=False) != replies(1, 1, warm=False)


def test_train_finished_run_of_replaced_policy_raises(qwen2_5: Path, tmp_path: Path) -> None:
    shutil.copytree(qwen2_5, tmp_path / "policy")
    (tmp_path / "out" / "model").mkdir(parents=True)
    train(recipe(tmp_path / "policy"), tmp_path / "out")
    weights = tmp_path / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(SettingsError, match=r"the policy changed since its first run \(model.safetensors\)"):
        train(recipe(tmp_path / "policy"), tmp_path / "out")


@pytest.mark.usefixtures("rewarded_length")
@pytest.mark.parametrize("sync", ["adapter", "weights"])
def test_train_vllm_loads_each_step_before_its_rollouts(qwen2_5: Path, tmp_path: Path, sync: str) -> None:
    def replies(body: dict[str, Any]) -> list[str]:
        return ["a" * (1 + number) for number in range(body["sampling_params"]["n"])]

    with ScriptedVllm(Encoder.load(qwen2_5), replies) as server:
        rollout = Rollout(engine="vllm", servers=(server.url,), sync=sync)  # type: ignore[arg-type]
        made = train(recipe(qwen2_5, sync == "adapter", rollout=rollout, steps=2), tmp_path)
    loads = LOAD_ADAPTER if sync == "adapter" else RPC
    assert [path for path in server.posted if path in (loads, GENERATE)] == [loads, GENERATE, GENERATE] * 2
    assert changed(qwen2_5, made)
    for record in log(tmp_path):
        assert record["importance_weight/mean"] > 0
        assert 0 <= record["importance_weight/truncated"] <= 1
    assert not (tmp_path / "sync").exists()


@pytest.mark.usefixtures("rewarded_length")
def test_train_vllm_sharded_in_two_processes_matches_one(qwen2_5: Path, tmp_path: Path) -> None:
    """Each process rolls out its prompts; the servers load each step once."""

    def replies(body: dict[str, Any]) -> list[str]:
        return ["a" * (1 + number) for number in range(body["sampling_params"]["n"])]

    for processes in (1, 2):
        with ScriptedVllm(Encoder.load(qwen2_5), replies) as server:
            rollout = Rollout(engine="vllm", servers=(server.url,), sync="weights")
            wanted = recipe(qwen2_5, rollout=rollout, steps=2, sharding="full", log_rollouts_steps=0)
            run_processes(processes, train, wanted, tmp_path / str(processes))
        assert [path for path in server.posted if path in (RPC, GENERATE)] == [RPC, GENERATE, GENERATE] * 2
    for one, two in zip(*(log(tmp_path / name) for name in ("1", "2")), strict=True):
        for name in ("loss", "grad_norm", "kl", "reward", "importance_weight/mean"):
            assert two[name] == pytest.approx(one[name], rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("chain", ["veason", "revseg"])
def test_train_vllm_scores_groups_while_others_are_sampled(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: str
) -> None:
    """A server holds its group back until that of the other server is scored."""
    scored, waited = threading.Event(), []

    def late(body: dict[str, Any]) -> list[str]:
        waited.append(scored.wait(timeout=10))
        return replies(body)

    def replies(body: dict[str, Any]) -> list[str]:
        when = '<think>So.</think><answer>[{"frame_idx": 0, "object description": "it"}]</answer>'
        n = body["sampling_params"]["n"]
        return [when, "no tags", "no tags", "nothing"] if n == 4 else ["nothing"] * n

    def score(prompt: Any, outcomes: Any, *_: Any) -> list[Any]:
        scored.set()
        return [RolloutScore({"format": None}, prompt.sample.id == first) for _ in outcomes]

    monkeypatch.setattr(step, "score_group", score)
    first = PromptDataset((PromptSource(name="shapes"),), 2, 0)[0].sample.id
    encoder = Encoder.load(qwen2_5)
    with ScriptedVllm(encoder, late) as one, ScriptedVllm(encoder, replies) as other:
        rollout = Rollout(engine="vllm", servers=(one.url, other.url), sync="weights")
        wanted = recipe(qwen2_5, chain=chain, rollout=rollout, steps=1, closeup_wh=(84, 84), num_generations=4)
        pages: list[Any] = []
        monkeypatch.setattr(step, "write_rollouts", lambda groups, *_: pages.extend(groups))
        train(wanted, tmp_path)
    assert waited
    assert all(waited)
    assert [group.scores[0].total for group in pages] == [1, 0]


def test_train_vllm_error_in_scores_raises(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(step, "score_group", broken)
    with ScriptedVllm(Encoder.load(qwen2_5)) as server:
        rollout = Rollout(engine="vllm", servers=(server.url,), sync="weights")
        with pytest.raises(ZeroDivisionError):
            train(recipe(qwen2_5, rollout=rollout), tmp_path)


def test_train_vllm_error_of_one_group_ends_others(qwen2_5: Path, tmp_path: Path) -> None:
    released = threading.Event()

    def late(body: dict[str, Any]) -> list[str]:
        released.wait(timeout=60)
        return []

    encoder = Encoder.load(qwen2_5)
    with ScriptedVllm(encoder, late) as one, ScriptedVllm(encoder, lambda body: []) as other:
        rollout = Rollout(engine="vllm", servers=(one.url, other.url), sync="weights")
        with pytest.raises(ModelError, match="0 replies; 4 wanted"):
            train(recipe(qwen2_5, rollout=rollout), tmp_path)
        for thread in threading.enumerate():
            if thread.name.startswith("roll out"):
                thread.join(timeout=10)
                assert not thread.is_alive()
        released.set()


@pytest.mark.usefixtures("rewarded_length")
def test_train_importance_cap_decides_loss(qwen2_5: Path, tmp_path: Path) -> None:
    """The scripted probabilities are far from those of the model, so that weights are small."""
    norms = []
    for cap in (None, 2.0):
        with ScriptedVllm(Encoder.load(qwen2_5), lambda body: ["a", "bb", "ccc", "dddd"]) as server:
            rollout = Rollout(engine="vllm", servers=(server.url,), sync="weights", importance_cap=cap)
            train(recipe(qwen2_5, rollout=rollout, steps=1, beta=0.0), tmp_path / str(cap))
        norms.append(log(tmp_path / str(cap))[0]["grad_norm"])
    assert norms[0] > norms[1] > 0
