"""Prompts and rewards in TRL's GRPOTrainer, with a tiny Qwen2.5-VL."""

import sys
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.export.job import export
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from tinymodels import VIEW, save_qwen2_5, tiny_tokenizer
from trl_processor import processor_of

torch.set_num_threads(1)

GOOD = '<think></think><answer>{"keyframe_timestamp": 2, "bbox_2d_list": [[0, 0, 4, 4], [2, 6, 10, 8]]}</answer>'


@pytest.fixture
def trl_kit(source, job, kit, monkeypatch):
    """The module of an export whose folder is on PYTHONPATH."""
    made = job(for_rl=True)
    export(source, "trl", made, DatasetIssues())
    monkeypatch.syspath_prepend(str(made.folder))
    yield kit("thinkseg_trl", made.folder)
    for name in ("thinkseg_rewards", "thinkseg_client"):
        sys.modules.pop(name, None)


def test_prompts_have_images_and_ground_truth(trl_kit):
    data = trl_kit.prompts()
    assert data.column_names == ["prompt", "images", "ground_truth"]
    both = data[0]
    parts = [part["type"] for part in both["prompt"][0]["content"]]
    assert parts == ["text", "text", "image", "text", "image", "text", "image", "text"][: len(parts)]
    assert [image.size for image in both["images"]] == [(10, 8)] * 3


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: text,
        lambda text: [{"role": "assistant", "content": text}],
        lambda text: [{"role": "assistant", "content": [{"type": "text", "text": text}]}],
        lambda text: [{"reasoning_content": "So.", "content": text.rpartition("</think>")[2]}],
        lambda text: [{"thinking": "So.", "content": [{"type": "text", "text": text.rpartition("</think>")[2]}]}],
    ],
)
def test_rewards_all_completion_types(trl_kit, wrapped):
    truth = trl_kit.prompts()["ground_truth"][0]
    completions = [wrapped(GOOD), wrapped("no")]
    columns = {"prompts": [None] * 2, "completion_ids": [[1], [2]], "ground_truth": [truth] * 2, "trainer_state": None}
    earned = {reward.__name__: reward(completions=completions, **columns) for reward in trl_kit.REWARDS}
    assert earned == {"format_reward": [1, 0], "keyframe_reward": [1, 0], "boxes_reward": [1, 0]}


class Logged(TrainerCallback):
    """Stores the logs of a trainer."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.steps.append(logs)


def test_grpo_trainer_two_steps_log_rewards(source, job, kit, monkeypatch, tmp_path):
    from dataclasses import replace

    from trl import GRPOConfig, GRPOTrainer

    made = job(for_rl=True)
    made = replace(made, settings=replace(made.settings, view=VIEW))
    export(source, "trl", made, DatasetIssues())
    monkeypatch.syspath_prepend(str(made.folder))
    trl_kit = kit("thinkseg_trl", made.folder)
    folder = save_qwen2_5(tmp_path / "model", tiny_tokenizer())
    encoder = Encoder.load(folder)
    settings = GRPOConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=2,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=8,
        generation_kwargs={"suppress_tokens": encoder.suppressed_ids()},
        reward_weights=[1.0, 1.0, 0.5],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
    )
    logged = Logged()
    trainer = GRPOTrainer(
        model=load_model(folder, "fp32"),
        reward_funcs=trl_kit.REWARDS,
        args=settings,
        train_dataset=trl_kit.prompts(),
        processing_class=processor_of(encoder),
        callbacks=[logged],
    )
    trainer.train()
    steps = [step for step in logged.steps if "reward" in step]
    assert len(steps) == 2
    for step in steps:
        # Eight random tokens are no valid reply, so every reward is 0.
        assert (
            step["rewards/format_reward/mean"]
            == step["rewards/keyframe_reward/mean"]
            == step["rewards/boxes_reward/mean"]
            == 0
        )
