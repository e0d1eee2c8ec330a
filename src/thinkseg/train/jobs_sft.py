"""What a stage of supervised training takes: a recipe and its model's anatomy in, a `Job` out.

Rows are those of the data itself, with their texts reckoned by their letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, cast

import numpy as np

from thinkseg.data.cotset import CotSet
from thinkseg.lessons import opened_set
from thinkseg.train import costs
from thinkseg.train.anatomy import Anatomy
from thinkseg.train.costs import Work
from thinkseg.train.jobs import Job, held_bytes, optimizer_bytes, size_of, tokens_of, trained_weights, update_bytes
from thinkseg.train.mixtures import KINDS, Mixture
from thinkseg.train.recipe import Recipe, Stage
from thinkseg.train.warmup import FRAMES_A_CLIP
from thinkseg.types import Dialogue, Turn, View

if TYPE_CHECKING:
    from thinkseg.models.encoder import Encoder

CLIPS = 6
"""Clips of each kind of data from which the longest row is told."""


def words(recipe: Recipe, stage: Stage, model: Anatomy, view: View) -> Job:
    bf16, rows = recipe.precision != "fp32", stage.batch
    cot = opened_set(recipe.cot_set, view) if "cot" in stage.data else None
    prompt, row, labelled, seen = _longest_row(stage, model, view, cot)
    trained = trained_weights(model, recipe.model)
    moving = recipe.model.create is not None or recipe.model.train_vision
    update = update_bytes(
        model, trained, row, seen if moving else 0, labelled, rows, bf16, stage.gradient_checkpointing
    )
    if not moving:
        update["reading"] = costs.passing(model.vision, rows * seen, bf16)
    passes = 1 + (1 if recipe.model.lora else 2) + stage.gradient_checkpointing
    tower = passes if moving else 1
    reading = costs.forward(model.vision, rows * seen, model.patches(view.frame_wh))
    work = (
        Work(reading * tower, 0, model.vision.layers * tower, stage.accumulate),
        Work(
            costs.forward(model.language, rows * row, row) * passes + 3 * costs.head(model, rows * labelled),
            0,
            model.language.layers * passes,
            stage.accumulate,
        ),
        Work(0, 32.0 * trained, 0),
    )
    held = held_bytes(model, recipe.model, trained, stage.optimizer, bf16)
    what = f"{stage.questions} questions" if stage.questions > 1 else "a question"
    return Job(stage.name, stage.steps, rows * stage.accumulate, what, prompt, row, held, {"update": update}, work)


def seeing(recipe: Recipe, stage: Stage, model: Anatomy, view: View) -> Job:
    """A stage in which the vision tower learns alone."""
    bf16, tower = recipe.precision != "fp32", model.vision
    each = model.patches(view.frame_wh)
    tokens = FRAMES_A_CLIP * each
    held = {"weights": (6.0 if bf16 else 4.0) * tower.weights}
    held["optimizer"] = optimizer_bytes(tower.weights, tower.matrices, stage.optimizer)
    update: dict[str, float] = {"gradients": 4.0 * tower.weights}
    update["activations"] = costs.activations(tower, stage.batch * tokens, bf16, stage.gradient_checkpointing)
    passes = 3 + stage.gradient_checkpointing
    flops = costs.forward(tower, stage.batch * tokens, each) * passes
    work = (Work(flops, 0, tower.layers * passes, stage.accumulate), Work(0, 32.0 * tower.weights, 0))
    rows, visual = stage.batch * stage.accumulate, tokens // model.merge**2
    return Job(stage.name, stage.steps, rows, "a clip", visual, visual, held, {"update": update}, work)


def _longest_row(stage: Stage, model: Anatomy, view: View, cot: CotSet | None) -> tuple[int, int, int, int]:
    """Of some rows of a stage's data the longest: tokens of its prompt, all, those trained on, and patches."""
    # Rows are only made, not encoded.
    mixture = Mixture(
        cast("Encoder", None), view, stage.data, stage.questions, 0, CLIPS, 1, cot, stage.asked, stage.strays
    )
    found = []
    for kind in stage.data:
        for at in range(CLIPS):
            dialogues = KINDS[kind](mixture, at, np.random.default_rng(at))
            if dialogues:
                found.append(packed(dialogues, model))
    return max(found, key=lambda sizes: sizes[1])


def packed(dialogues: Sequence[Dialogue], model: Anatomy) -> tuple[int, int, int, int]:
    """As `_longest_row`, of dialogues that share what they have in common with the first."""
    contents = [
        [part for said in dialogue for part in (said.content if isinstance(said, Turn) else (said,))]
        for dialogue in dialogues
    ]
    if len(contents) > 1:
        shared = sum(1 for _ in takewhile(_alike, zip(*contents, strict=False)))
    else:
        shared = len(contents[0]) - 1
    prompt = tokens_of(contents[0][:shared], model)
    row = prompt + sum(tokens_of(content[shared:], model) for content in contents)
    labelled = sum(tokens_of((said,), model) for d in dialogues for said in d if isinstance(said, str))
    images = {id(part): part for content in contents for part in content if not isinstance(part, str)}
    return prompt, row, labelled, sum(model.patches(size_of(image)) for image in images.values())


def _alike(parts: Sequence[str | np.ndarray]) -> bool:
    """Whether dialogues have the same text in a place, or the very same image."""
    return all(part is parts[0] or (isinstance(part, str) and part == parts[0]) for part in parts)
