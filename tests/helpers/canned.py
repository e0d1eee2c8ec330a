"""Deterministic trainings with given replies: `train` runs one, with one process or more."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import peft  # noqa: F401 - before processes are forked, for it takes a second
import torch

from recipefiles import changed_recipe
from thinkseg.models.policies.qwen.generation import Completion, Engine
from thinkseg.rewards.groups import RolloutScore
from thinkseg.training import distributed
from thinkseg.training.grpo import step
from thinkseg.training.grpo import train as grpo
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.loop import run
from thinkseg.training.loop.log import RunLog
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.sft import train as sft
from thinkseg.training.sft.recipe import Recipe, Stage

GROUP = 3


@dataclass(frozen=True)
class Case:
    """One training. stop_after: interrupts it once so many steps have checkpoints. changes: of the recipe."""

    method: str
    chain: str = "veason"
    lora: bool = False
    stop_after: int = 0
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return "-".join([self.method, self.chain, "lora" if self.lora else "whole"])


class StoppedError(Exception):
    """Ends a training at a checkpoint."""


def grpo_recipe(case: Case, folder: Path) -> GrpoRecipe:
    return GrpoRecipe(
        model=ModelRecipe(name=str(folder), lora=Lora(rank=2) if case.lora else None),
        data=(PromptSource(name="shapes"),),
        chain=case.chain,
        rewards={"format": 1.0},
        steps=3,
        num_frames=1,
        frame_wh=(56, 56),
        closeup_wh=(84, 84) if case.chain == "revseg" else None,
        prompts_per_step=2,
        num_generations=GROUP,
        learning_rate=1e-3,
        loss_type="dapo",
        max_new_tokens=8,
        save_steps=100,
        log_rollouts_steps=0,
        precision="fp32",
        report_to=(),
    )


def sft_recipe(case: Case, folder: Path) -> Recipe:
    stage = Stage(
        name="answer",
        objective="causal_lm",
        steps=3,
        batch_size=1,
        learning_rate=1e-3,
        warmup_steps=0.0,
        data={"two_turns" if case.chain == "revseg" else "answers": 1.0},
        questions_per_clip=2,
        gradient_accumulation_steps=2,
        save_steps=100,
        dataloader_num_workers=0,
    )
    model = ModelRecipe(name=str(folder), lora=Lora(rank=2) if case.lora else None)
    closeup = (84, 84) if case.chain == "revseg" else None
    return Recipe(
        model=model,
        stages=(stage,),
        num_frames=1,
        frame_wh=(56, 56),
        closeup_wh=closeup,
        precision="fp32",
        report_to=(),
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


def decode_two_turns(self: Engine, prefix: Any, rows: Sequence[int], *_: Any) -> list[Completion]:
    """Usable replies of both turns, which grow along a group. The rows of a first turn are the prompts."""
    texts = []
    for number in (index % GROUP for index in range(len(rows))):
        thinking = "So. " * (number + 1)
        answer = '[{"frame_idx": 0, "object description": "it"}]'
        first = f"<think>{thinking}</think><answer>{answer}</answer>"
        texts.append(first if len(set(rows)) < len(rows) else f'[{{"bbox_2d": [{10 * number}, 5, 50, 50]}}]')
    ids = [self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return [Completion((*line, self.encoder.end_id), False) for line in ids]


def score(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[RolloutScore]:
    """Rewards length, but gives all rollouts of the first prompt the same reward."""
    is_first = prompt.sample.id == PromptDataset((PromptSource(name="shapes"),), 1, 0)[0].sample.id
    return [RolloutScore(dict.fromkeys(weights), 0.0 if is_first else outcome.num_tokens) for outcome in outcomes]


def changed(recipe: Any, changes: dict[str, Any]) -> Any:
    """The recipe with some fields replaced, of its stage if it has one."""
    if isinstance(recipe, Recipe):
        of_stage = {name: value for name, value in changes.items() if name in Stage.model_fields}
        changes = {name: value for name, value in changes.items() if name not in of_stage}
        changes["stages"] = (changed_recipe(recipe.stages[0], **of_stage),)
    return changed_recipe(recipe, **changes)


def train(case: Case, folder: Path, out: Path) -> None:
    """Runs a case, or resumes it, and writes the gradients of each step to out/gradients-N.pt."""
    make, method = (grpo_recipe, grpo) if case.method == "grpo" else (sft_recipe, sft)
    recipe = changed(make(case, folder), dict(case.changes))
    steps: list[int] = []

    def recorded(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
        write_gradients(optimizers, out / f"gradients-{len(steps)}.pt")
        update(optimizers, rate)

    def add(self: RunLog, number: int, values: Any) -> None:
        log_step(self, number, values)
        steps.append(number)

    def saved(folder: Path, number: int, *state: Any) -> None:
        save(folder, number, *state)
        if number == case.stop_after:
            raise StoppedError

    update, log_step, save = run._update, RunLog.add, run.save_checkpoint
    replies = decode_two_turns if case.chain == "revseg" else decode
    with (
        mock.patch.object(step, "score_group", score),
        mock.patch.object(Engine, "decode", replies),
        mock.patch.object(run, "_update", recorded),
        mock.patch.object(run, "save_checkpoint", saved),
        mock.patch.object(RunLog, "add", add),
    ):
        try:
            method.train(recipe, out)
        except StoppedError:
            return


def write_gradients(optimizers: Sequence[torch.optim.Optimizer], path: Path) -> None:
    """Writes the whole gradients, in the order of the optimizers."""
    parameters = [p for one in optimizers for group in one.param_groups for p in group["params"]]
    gradients = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in parameters]
    if distributed.rank() == 0:
        torch.save(gradients, path)


def train_all(cases: Sequence[Case], folder: Path, out: Path) -> None:
    for case in cases:
        train(case, folder, out / case.name)
