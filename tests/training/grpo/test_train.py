import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Completion, Engine
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.rewards.groups import RolloutScore
from thinkseg.training.grpo import step
from thinkseg.training.grpo import train as grpo
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.grpo.step import Step
from thinkseg.training.grpo.train import train
from thinkseg.training.log import JsonLines
from thinkseg.training.recipes import Lora, ModelRecipe
from tinymodels import asked, changed, picture

STEPS = 4


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
def lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never answers, so that nothing would be learned: long replies count as better here."""

    def longer(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[Any]:
        return [RolloutScore(dict.fromkeys(weights), len(str(o.replies)) / 100) for o in outcomes]

    monkeypatch.setattr(step, "score_group", longer)


def log(out: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [record for record in records if "loss" in record]


@pytest.mark.usefixtures("lively")
@pytest.mark.parametrize("lora", [False, True])
def test_a_run_leaves_a_policy_and_what_it_told(qwen2_5: Path, tmp_path: Path, lora: bool) -> None:
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
    assert first["parsed"] == 0
    assert sum(v for k, v in first.items() if k.startswith("failed/")) == pytest.approx(1)
    assert {
        "seconds/rollout",
        "seconds/reward",
        "seconds/update",
        "tokens_a_second",
        "tokens",
        "teaching",
    } <= first.keys()
    pages = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert pages == ["step-000000.html", "step-000003.html"]
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.usefixtures("lively")
@pytest.mark.parametrize("lora", [False, True])
def test_in_bf16_a_policy_is_its_reference_to_the_bit_before_it_learns(
    qwen2_5: Path, tmp_path: Path, lora: bool
) -> None:
    train(recipe(qwen2_5, lora, precision="bf16", steps=2, log_rollouts_steps=0), tmp_path)
    first, second = (record["kl"] for record in log(tmp_path))
    assert first == 0
    assert second > 0


class Killed(BaseException):
    """Like a kill, it is caught by nobody."""


@pytest.mark.usefixtures("lively")
@pytest.mark.parametrize("lora", [False, True])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool
) -> None:
    """30 steps straight are 15, a kill between two checkpoints, and 15 more: the same prompts, losses and weights."""
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

    def on_step_end(self: JsonLines, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 15:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(JsonLines, "on_step_end", on_step_end, raising=False)
        with pytest.raises(Killed):
            train(wanted, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    train(wanted, tmp_path / "killed")
    assert changed(tmp_path / "straight" / "model", tmp_path / "killed" / "model") == set()
    timeless = [
        [{k: v for k, v in record.items() if "seconds" not in k and "a_second" not in k} for record in log(out)]
        for out in (tmp_path / "straight", tmp_path / "killed")
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 30


def test_nothing_to_learn_is_no_update(qwen2_5: Path, tmp_path: Path) -> None:
    """A random model fails every time, so that all rewards are alike: steps are counted, and weights stay."""
    made = train(recipe(qwen2_5, steps=2, weight_decay=0.1), tmp_path)
    assert changed(qwen2_5, made) == set()
    assert [(r["step"], r["loss"], r["grad_norm"], r["teaching"]) for r in log(tmp_path)] == [
        (1, 0, 0, 0),
        (2, 0, 0, 0),
    ]


def test_the_better_attempts_become_likelier(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reward for short replies, replies become short."""

    def shorter(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[Any]:
        return [RolloutScore(dict.fromkeys(weights), -o.num_tokens) for o in outcomes]

    monkeypatch.setattr(step, "score_group", shorter)
    wanted = recipe(
        qwen2_5, steps=40, num_generations=8, learning_rate=1e-2, beta=0.0, max_new_tokens=6, log_rollouts_steps=0
    )
    train(wanted.model_copy(update={"save_steps": 100}), tmp_path)
    records = log(tmp_path)
    lengths = [record["tokens"] for record in records]
    assert sum(lengths[:5]) / 5 > 5
    assert sum(lengths[-5:]) / 5 < 3
    assert all("kl" not in record for record in records)  # there is no reference


def test_both_turns_are_learned(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain revseg, with replies that are usable: rewards tell good from bad, and what is learned moves weights."""
    spoken: list[str] = []

    def decode(self: Engine, prefix: Any, rows: Any, *_: Any) -> list[Completion]:
        first = not spoken or spoken[-1] == "where"
        spoken.append("when" if first else "where")
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
    assert spoken == ["when", "where"] * 3
    assert changed(qwen2_5, made)
    for record in log(tmp_path):
        assert record["parsed"] == record["reward/format_graded"] == 1
        assert record["keyframe/0"] == record["keyframe/1"] == 0.5
        assert math.isfinite(record["loss"])
    assert max(record["reward/boxes"] for record in log(tmp_path)) > 0


@pytest.mark.parametrize(
    ("where", "setting"), [("roll_out", "max_cache_tokens"), ("policy_loss", "gradient_checkpointing")]
)
@pytest.mark.usefixtures("lively")
def test_out_of_memory_names_the_setting_to_lower(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, setting: str
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(step, where, full)
    with pytest.raises(ModelError, match=setting):
        train(recipe(qwen2_5), tmp_path)


def test_a_folder_of_another_run_is_left_alone(qwen2_5: Path, tmp_path: Path) -> None:
    train(recipe(qwen2_5, steps=1), tmp_path)
    with pytest.raises(SettingsError, match="another recipe"):
        train(recipe(qwen2_5, steps=2), tmp_path)


def test_a_finished_run_is_not_run_again(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(qwen2_5, steps=1), tmp_path)
    monkeypatch.setattr(grpo, "_trainer", None)
    assert train(recipe(qwen2_5, steps=1), tmp_path) == tmp_path / "model"


def test_consistency_is_tracked(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker that the recipe names is what the reward gets; without that reward there is none."""
    given: list[Any] = []
    score = step.score_group
    monkeypatch.setattr(step, "score_group", lambda *a: given.append(a[3]) or score(*a))
    train(recipe(qwen2_5, steps=1, rewards={"consistency": 1.0}), tmp_path / "with")
    train(recipe(qwen2_5, steps=1), tmp_path / "without")
    assert {None if tracker is None else tracker.name for tracker in given[:2]} == {"flow"}
    assert set(given[2:]) == {None}


def test_what_is_drawn_depends_on_the_step_and_the_seed_alone(qwen2_5: Path, tmp_path: Path) -> None:
    def said(seed: int, step: int, warm: bool) -> list[Any]:
        wanted = recipe(qwen2_5, seed=seed)
        encoder = Encoder.load(qwen2_5)
        one = Step(wanted, load_model(qwen2_5, "fp32"), None, encoder, wanted.view, tmp_path)
        if warm:
            one.collect([4, 5], step - 1)
        outcomes = one._rolled_out([one.prompts[n] for n in (2, 3)], (2, 3), step)
        return [outcome.replies for group in outcomes for outcome in group]

    assert said(0, 1, warm=False) == said(0, 1, warm=True)
    assert said(0, 1, warm=False) != said(0, 2, warm=False)
    assert said(0, 1, warm=False) != said(1, 1, warm=False)
