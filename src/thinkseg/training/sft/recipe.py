"""The recipe of a supervised training run: stages, data, view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkseg.errors import SettingsError
from thinkseg.training.optimizers import OPTIMIZERS
from thinkseg.training.recipes import (
    PRECISIONS,
    ModelRecipe,
    _check_shares,
    check_asked,
    check_model,
    check_reporters,
    read_yaml,
)
from thinkseg.types import View


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage.

    objective: "patches" (the vision tower alone: what and where, from each visual token) or "words" (next token).
    data: shares of `training.sft.data.KINDS` (words only). questions: dialogues packed over one clip.
    asked: how often questions of a category are asked about shapes, where that is not as often as in val, and as far as
        clips allow: {motion: 0.3} changes `data.shapes.episodes.CATEGORY_WEIGHTS`; weights need not sum to one.
    strays: share of the questions about shapes with made-up words in them, which say nothing.
    batch: rows (words) or clips (patches) a forward pass; accumulate: such batches a step, all weighing alike.
    optimizer: one of `training.optimizers.OPTIMIZERS`; schedule: of the learning rate, one of `SCHEDULES`.
    gradient_checkpointing: less memory for more time. workers: processes that make data.
    """

    name: str
    objective: str
    steps: int
    batch: int
    learning_rate: float
    data: Mapping[str, float] = field(default_factory=dict)
    questions: int = 1
    asked: Mapping[str, float] = field(default_factory=dict)
    strays: float = 0.0
    accumulate: int = 1
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05  # steps; below 1 a share of all steps
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    save_every: int = 200
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run.

    num_frames, frame_wh, closeup_wh: how videos are shown, see `thinkseg.types.View`.
    first_clip: of the shapes world's train split; a run that goes on from another can begin where that has not been.
    cot_set: the folder of the set that the data `cot` is about, as `thinkseg annotate` writes it.
    precision: "auto" (bf16 where the hardware is quick at it), "bf16" or "fp32".
    report_to: some of `REPORTERS`, which get the figures of log.jsonl too; TensorBoard if None.
    """

    model: ModelRecipe
    stages: tuple[Stage, ...]
    num_frames: int
    frame_wh: tuple[int, int]
    closeup_wh: tuple[int, int] | None = None
    seed: int = 0
    precision: str = "auto"
    first_clip: int = 0
    cot_set: str | None = None
    report_to: tuple[str, ...] | None = None

    @property
    def view(self) -> View:
        return View(self.num_frames, self.frame_wh, closeup_wh=self.closeup_wh)


OBJECTIVES = ("patches", "words")


SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")


def load_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Reads and checks a recipe, some of its fields changed. Raises SettingsError."""
    recipe: Recipe = read_yaml(Recipe, path, changes)
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    check_model(recipe.model, path)
    check_reporters(recipe.report_to, path)
    if recipe.precision not in PRECISIONS:
        raise SettingsError(f"{path}: precision: {recipe.precision!r} is none of {', '.join(PRECISIONS)}")
    if min(recipe.num_frames, *recipe.frame_wh, *(recipe.closeup_wh or ())) < 1:
        raise SettingsError(f"{path}: num_frames, frame_wh and closeup_wh are at least 1")
    if not 0 <= recipe.seed < 2**32:
        raise SettingsError(f"{path}: seed: {recipe.seed} is not in 0..{2**32 - 1}")
    if recipe.first_clip < 0:
        raise SettingsError(f"{path}: first_clip: {recipe.first_clip} is below 0")
    _check_names([stage.name for stage in recipe.stages], path)
    if any("cot" in stage.data for stage in recipe.stages) != (recipe.cot_set is not None):
        raise SettingsError(f"{path}: cot_set: needed for the data `cot`, and for nothing else")
    for stage in recipe.stages:
        _check_stage(stage, f"{path}: stage {stage.name!r}")


def _check_names(names: Sequence[str], path: Path) -> None:
    """At least one stage, and each with a name that can be a folder of its own."""
    if not names:
        raise SettingsError(f"{path}: stages: at least one is needed")
    for name in names:
        if not re.fullmatch(r"[\w-]+", name) or names.count(name) > 1:
            raise SettingsError(f"{path}: stage {name!r}: a name is one word, and no other stage's: it is a folder")


def _check_pace(stage: Stage, where: str) -> None:
    if stage.schedule not in SCHEDULES:
        raise SettingsError(f"{where}: schedule {stage.schedule!r} is none of {', '.join(SCHEDULES)}")
    if not (0 < stage.learning_rate < math.inf and 0 < stage.max_grad_norm < math.inf):
        raise SettingsError(f"{where}: learning_rate and max_grad_norm are above 0")
    if not (0 <= stage.warmup < math.inf and 0 <= stage.weight_decay < math.inf and stage.workers >= 0):
        raise SettingsError(f"{where}: warmup, weight_decay and workers are at least 0")


def _check_stage(stage: Stage, where: str) -> None:
    if stage.optimizer not in OPTIMIZERS:
        raise SettingsError(f"{where}: optimizer {stage.optimizer!r} is none of {', '.join(OPTIMIZERS)}")
    if stage.objective not in OBJECTIVES:
        raise SettingsError(f"{where}: objective {stage.objective!r} is none of {', '.join(OBJECTIVES)}")
    if (stage.objective == "words") != bool(stage.data):
        raise SettingsError(f"{where}: data: needed for words, e.g. {{traces: 1.0}}, and for nothing else")
    _check_shares(stage.data, f"{where}: data")
    _check_pace(stage, where)
    check_asked(stage.asked, where)
    if not 0 <= stage.strays <= 1:
        raise SettingsError(f"{where}: strays: {stage.strays} is not a share, from 0 to 1")
    if min(stage.steps, stage.batch, stage.accumulate, stage.questions, stage.save_every) < 1:
        raise SettingsError(f"{where}: steps, batch, accumulate, questions and save_every are at least 1")
