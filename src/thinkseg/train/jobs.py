"""A run as a planner sees it, and what both ways of training have in common: sizes in, bytes and tokens out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.train import costs
from thinkseg.train.anatomy import Anatomy
from thinkseg.train.costs import Work
from thinkseg.train.gpus import Gpu
from thinkseg.train.recipe import ModelRecipe
from thinkseg.train.words import tokens_at_once

LETTERS_A_TOKEN = 3.0
"""Of prose and of boxes together: prose has about four, and of a number each digit is a token to Qwen's tokenizers."""


@dataclass(frozen=True, slots=True)
class Job:
    """A stage of supervised training, or a reinforcement run.

    rows: packed rows a step, and what is in one of them (`row`); prompt_tokens, row_tokens: of the longest.
    held: bytes of what is there all the time, by name; phases: bytes of what each phase adds to that, by name.
    work: of one step.
    """

    name: str
    steps: int
    rows: int
    row: str
    prompt_tokens: int
    row_tokens: int
    held: Mapping[str, float]
    phases: Mapping[str, Mapping[str, float]]
    work: tuple[Work, ...]

    @property
    def step_tokens(self) -> int:
        return self.rows * self.row_tokens

    @property
    def peak(self) -> float:
        """Bytes of the phase that takes most."""
        return sum(self.held.values()) + max(sum(parts.values()) for parts in self.phases.values())

    def step_seconds(self, gpu: Gpu) -> float:
        return costs.seconds(self.work, gpu)


def tokens_of(content: Sequence[str | np.ndarray], model: Anatomy) -> int:
    """Tokens of texts and images; an image stands between two more, a text counts one for what surrounds it."""
    return sum(
        1 + int(len(part) / LETTERS_A_TOKEN) if isinstance(part, str) else 2 + model.visual_tokens(size_of(part))
        for part in content
    )


def size_of(image: np.ndarray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def trained_weights(model: Anatomy, source: ModelRecipe) -> int:
    """How many weights are trained."""
    if source.lora:
        return source.lora.rank * model.adapted
    tower = model.vision.weights if source.create or source.train_vision else 0
    return model.language.weights + model.ends + tower


def held_bytes(model: Anatomy, source: ModelRecipe, trained: int, optimizer: str, bf16: bool) -> dict[str, float]:
    """Bytes of weights and of what the optimizer remembers."""
    whole = 2 if bf16 and source.lora else 4
    held = {"weights": float(whole * model.weights)}
    if source.lora:
        held["adapter"] = 4.0 * trained
    elif bf16:
        held["weights in bf16"] = 2.0 * trained  # autocast keeps them from a pass to the next
    matrices = 0 if source.lora else model.language.matrices
    if source.create or source.train_vision:
        matrices += model.vision.matrices
    held["optimizer"] = optimizer_bytes(trained, matrices, optimizer)
    return held


def optimizer_bytes(trained: int, matrices: int, name: str) -> float:
    """AdamW remembers two numbers for each weight, Muon one, for matrices."""
    return 8.0 * trained - (4.0 * matrices if name == "muon" else 0.0)


def update_bytes(
    model: Anatomy, trained: int, row: int, patches: int, labelled: int, rows: int, bf16: bool, checkpointing: bool
) -> dict[str, float]:
    """Bytes while rows are learned from. patches: of a row, that are learned from, too."""
    return {
        "gradients": 4.0 * trained,
        "activations": float(
            costs.activations(model.language, rows * row, bf16, checkpointing)
            + costs.activations(model.vision, rows * patches, bf16, checkpointing)
        ),
        "logits": float(costs.LOGIT * min(rows * labelled, tokens_at_once(model.vocabulary)) * model.vocabulary),
    }
