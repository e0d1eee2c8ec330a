"""Deterministic training with given replies: `python canned.py METHOD MODEL OUT`, alone or under torchrun."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from thinkseg.models.policies.qwen.generation import Completion, Engine
from thinkseg.rewards.groups import RolloutScore
from thinkseg.training.grpo import step
from thinkseg.training.grpo import train as grpo
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.recipes import ModelRecipe
from thinkseg.training.sft import train as sft
from thinkseg.training.sft.recipe import Recipe, Stage


def grpo_recipe(folder: Path) -> GrpoRecipe:
    return GrpoRecipe(
        model=ModelRecipe(name=str(folder)),
        data=(PromptSource(name="shapes"),),
        rewards={"format": 1.0},
        steps=2,
        num_frames=1,
        frame_wh=(56, 56),
        prompts_per_step=2,
        num_generations=3,
        learning_rate=1e-3,
        loss_type="dapo",
        max_new_tokens=8,
        log_rollouts_steps=0,
        precision="fp32",
    )


def decode(self: Engine, prefix: Any, rows: Sequence[int], *_: Any) -> list[Completion]:
    """Replies grow along a group, and are longer for prompts with an even number of tokens."""
    seen: Counter[int] = Counter()
    completions = []
    for row in rows:
        seen[row] += 1
        length = seen[row] + 2 * (1 - int(prefix.attention_mask[row].sum()) % 2)
        completions.append(Completion((*range(40, 40 + length), self.encoder.end_id), False))
    return completions


def score(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[RolloutScore]:
    """Rewards length, but gives all rollouts of the first prompt the same reward."""
    is_first = prompt.sample.id == PromptDataset(grpo_recipe(Path()).data, 1, 0)[0].sample.id
    return [RolloutScore(dict.fromkeys(weights), 0.0 if is_first else outcome.num_tokens) for outcome in outcomes]


def sft_recipe(folder: Path) -> Recipe:
    stage = Stage(
        name="answer",
        objective="causal_lm",
        steps=2,
        batch_size=1,
        learning_rate=1e-3,
        data={"answers": 1.0},
        questions_per_clip=2,
        gradient_accumulation_steps=2,
        dataloader_num_workers=0,
    )
    model = ModelRecipe(name=str(folder))
    return Recipe(model=model, stages=(stage,), num_frames=1, frame_wh=(56, 56), precision="fp32")


def train(method: str, folder: Path, out: Path) -> None:
    if method == "grpo":
        grpo.train(grpo_recipe(folder), out)
    else:
        sft.train(sft_recipe(folder), out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    step.score_group = score
    Engine.decode = decode  # type: ignore[method-assign]
    train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
