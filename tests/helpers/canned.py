"""Training in which nothing is left to chance: `python canned.py WAY MODEL OUT` runs it, with replies that are given.

Started by torchrun it is the same run, shared out.
"""

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
from thinkseg.training.grpo.prompt_sampler import Prompts
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.recipes import ModelRecipe
from thinkseg.training.sft import train as sft
from thinkseg.training.sft.recipe import Recipe, Stage


def reinforcement(folder: Path) -> GrpoRecipe:
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
    """The more of a group there have been, the longer; and longer in prompts of an even length."""
    met: Counter[int] = Counter()
    drawn = []
    for row in rows:
        met[row] += 1
        length = met[row] + 2 * (1 - int(prefix.attention_mask[row].sum()) % 2)
        drawn.append(Completion((*range(40, 40 + length), self.encoder.end_id), False))
    return drawn


def score(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[RolloutScore]:
    """Longer is better, but for one prompt, where nothing is to be learned."""
    dull = prompt.sample.id == Prompts(reinforcement(Path()).data, 1, 0)[0].sample.id
    return [RolloutScore(dict.fromkeys(weights), 0.0 if dull else outcome.num_tokens) for outcome in outcomes]


def fine_tuning(folder: Path) -> Recipe:
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


def train(way: str, folder: Path, out: Path) -> None:
    if way == "grpo":
        grpo.train(reinforcement(folder), out)
    else:
        sft.train(fine_tuning(folder), out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    step.score_group = score
    Engine.decode = decode  # type: ignore[method-assign]
    train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
