"""A reinforcement run as one YAML file: the file's path in, a checked `GrpoRecipe` out.

Every field is listed here with its meaning; the defaults are those of Veason-R1. The recipe is saved with the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkseg.chains import CHAINS
from thinkseg.data import BENCHMARKS
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import check_tracker
from thinkseg.rewards import checked_weights
from thinkseg.training.grpo.loss import NORMALISATIONS
from thinkseg.training.optimizers import OPTIMIZERS
from thinkseg.training.recipes import PRECISIONS, ModelRecipe, check_asked, check_model, check_reporters, read_yaml
from thinkseg.training.sft.recipe import SCHEDULES
from thinkseg.types import View


@dataclass(frozen=True, slots=True)
class Source:
    """Where prompts come from: a benchmark by name, with its folder and split, or the shapes world ("shapes").

    offset: for shapes, the first sample of the split used, so that runs need not meet the same clips.
    asked: for shapes, how often questions of a category are asked, where that is not as often as in val, as in
        `training.sft.recipe.Stage`.
    """

    name: str
    root: str | None = None
    split: str = "train"
    offset: int = 0
    asked: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrpoRecipe:
    """One run. A step is one update on `prompts` groups of `rollouts` attempts each.

    data: sources whose prompts are shuffled together. rewards: weights by the names of `thinkseg.rewards.REWARDS`.
    num_frames, frame_wh, closeup_wh: how videos are shown, see `thinkseg.types.View`.
    chain: one of `thinkseg.chains.CHAINS`. tracker: what the reward "consistency" tracks with.
    beta: weight of the KL from the policy the run began with; 0 does without that policy.
    normalisation: one of `training.grpo.loss.NORMALISATIONS`; scaled: advantages are divided by their deviation.
    max_new_tokens: of one reply; exclude_truncated: rollouts cut short by it are not trained on.
    tokens_at_once: places of the cache that rollouts may take at a time; lower it if memory runs out.
    show_every: steps between pages of rollouts in the run's folder; 0 for none.
    report_to: some of `training.recipes.REPORTERS`, which get the figures of log.jsonl too; TensorBoard if None.
    """

    model: ModelRecipe
    data: tuple[Source, ...]
    rewards: Mapping[str, float]
    steps: int
    num_frames: int
    frame_wh: tuple[int, int]
    closeup_wh: tuple[int, int] | None = None
    prompts: int = 16
    rollouts: int = 8
    chain: str = "veason"
    tracker: str = "flow"
    learning_rate: float = 1e-6
    optimizer: str = "adamw"
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    beta: float = 5e-3
    normalisation: str = "grpo"
    scaled: bool = True
    temperature: float = 1.0
    max_new_tokens: int = 1024
    exclude_truncated: bool = False
    gradient_checkpointing: bool = False
    tokens_at_once: int = 200_000
    save_every: int = 50
    show_every: int = 50
    seed: int = 0
    precision: str = "auto"
    report_to: tuple[str, ...] | None = None

    @property
    def view(self) -> View:
        return View(self.num_frames, self.frame_wh, closeup_wh=self.closeup_wh)


def load_grpo_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> GrpoRecipe:
    """Reads and checks a recipe, some of its fields changed. Raises SettingsError."""
    recipe: GrpoRecipe = read_yaml(GrpoRecipe, path, changes)
    check_model(recipe.model, path)
    check_reporters(recipe.report_to, path)
    if recipe.model.create:
        raise SettingsError(f"{path}: model.create: reinforcement begins with a model that can answer; give its `name`")
    _check_names(recipe, path)
    _check_numbers(recipe, path)
    for source in recipe.data:
        _check_source(source, path)
    if not recipe.data or (len(recipe.data) > 1 and any(source.name == "shapes" for source in recipe.data)):
        raise SettingsError(f"{path}: data: give one or more benchmarks, or shapes alone")
    try:
        weights = checked_weights(recipe.rewards)
    except SettingsError as error:
        raise SettingsError(f"{path}: rewards: {error}") from None
    if "consistency" in weights:
        try:
            check_tracker(recipe.tracker)
        except ModelError as error:
            raise SettingsError(f"{path}: tracker: {error}") from None
    return recipe


def _check_names(recipe: GrpoRecipe, path: Path) -> None:
    for name, value, known in (
        ("chain", recipe.chain, CHAINS),
        ("optimizer", recipe.optimizer, OPTIMIZERS),
        ("schedule", recipe.schedule, SCHEDULES),
        ("normalisation", recipe.normalisation, NORMALISATIONS),
        ("precision", recipe.precision, PRECISIONS),
    ):
        if value not in known:
            raise SettingsError(f"{path}: {name}: {value!r} is none of {', '.join(known)}")


def _check_numbers(recipe: GrpoRecipe, path: Path) -> None:
    at_least_one = ("steps", "num_frames", "prompts", "max_new_tokens", "tokens_at_once", "save_every")
    for name in at_least_one:
        if getattr(recipe, name) < 1:
            raise SettingsError(f"{path}: {name} is at least 1")
    if recipe.rollouts < 2:
        raise SettingsError(f"{path}: rollouts is at least 2: an attempt is judged by the others of its group")
    if min(*recipe.frame_wh, *(recipe.closeup_wh or ())) < 1:
        raise SettingsError(f"{path}: frame_wh and closeup_wh are at least 1")
    for name in ("learning_rate", "max_grad_norm", "temperature"):
        if not 0 < getattr(recipe, name) < math.inf:
            raise SettingsError(f"{path}: {name} is above 0")
    for name in ("warmup", "weight_decay", "beta", "show_every"):
        if not 0 <= getattr(recipe, name) < math.inf:
            raise SettingsError(f"{path}: {name} is at least 0")
    if not 0 <= recipe.seed < 2**32:
        raise SettingsError(f"{path}: seed: {recipe.seed} is not in 0..{2**32 - 1}")


def _check_source(source: Source, path: Path) -> None:
    if source.name != "shapes" and source.name not in BENCHMARKS:
        raise SettingsError(f"{path}: data: no {source.name!r}; there are shapes, {', '.join(BENCHMARKS)}")
    if source.name != "shapes" and not source.root:
        raise SettingsError(f"{path}: data: {source.name} needs `root`, the folder that holds it")
    if source.offset < 0 or (source.offset and source.name != "shapes"):
        raise SettingsError(f"{path}: data: offset is at least 0, and for shapes alone")
    if source.asked and source.name != "shapes":
        raise SettingsError(f"{path}: data: asked is for shapes alone")
    check_asked(source.asked, f"{path}: data")
