"""The training of a tracker as one YAML file: the file's path in, a checked `TrackerRecipe` out.

Every field is listed here with its meaning. The recipe is saved with the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.train.recipe import PRECISIONS, check_names, check_pace, check_reporters
from thinkseg.train.yamlfile import read_yaml


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a SAM 2 is.

    side: of the squares it sees, a multiple of 32. width: channels of the first stage of its encoder; each stage after
    it has twice as many. blocks: of each of the four stages. channels: of features, 128, 192, 256, ...
    memory_layers: of the attention to memories.
    """

    side: int = 256
    width: int = 32
    blocks: tuple[int, int, int, int] = (1, 2, 3, 1)
    channels: int = 128
    memory_layers: int = 2


@dataclass(frozen=True, slots=True)
class TrackerStage:
    """One stage of the training.

    frames: of a clip, the object's box being given on the first; 1 for pictures alone. batch: clips a step.
    schedule: of the learning rate, one of `train.recipe.SCHEDULES`. warmup: steps; below 1 a share of all steps.
    workers: processes that make data.
    """

    name: str
    frames: int
    steps: int
    batch: int
    learning_rate: float
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    save_every: int = 200
    workers: int = 1


@dataclass(frozen=True, slots=True)
class TrackerRecipe:
    """One training run, of a tracker from nothing. The other fields are those of `train.recipe.Recipe`."""

    create: Sizes
    stages: tuple[TrackerStage, ...]
    first_clip: int = 0
    seed: int = 0
    precision: str = "auto"
    report_to: tuple[str, ...] | None = None


def load_tracker_recipe(path: Path) -> TrackerRecipe:
    """Reads and checks a recipe. Raises SettingsError."""
    recipe: TrackerRecipe = read_yaml(TrackerRecipe, path)
    check_reporters(recipe.report_to, path)
    if recipe.precision not in PRECISIONS:
        raise SettingsError(f"{path}: precision: {recipe.precision!r} is none of {', '.join(PRECISIONS)}")
    if not 0 <= recipe.seed < 2**32 or recipe.first_clip < 0:
        raise SettingsError(f"{path}: seed is in 0..{2**32 - 1}, and first_clip at least 0")
    _check_sizes(recipe.create, path)
    check_names([stage.name for stage in recipe.stages], path)
    for stage in recipe.stages:
        _check_stage(stage, f"{path}: stage {stage.name!r}")
    return recipe


def _check_sizes(sizes: Sizes, path: Path) -> None:
    if sizes.side < 32 or sizes.side % 32 or sizes.channels < 128 or sizes.channels % 64:
        raise SettingsError(f"{path}: create: side is a multiple of 32, and channels of 64, from 128 on")
    if min(sizes.width, sizes.memory_layers, *sizes.blocks) < 1 or sizes.width % 8 or sizes.blocks[2] < 2:
        raise SettingsError(
            f"{path}: create: memory_layers and blocks are at least 1, the third of blocks is at least 2, of which the "
            "last sees all of the picture, and width is a multiple of 8"
        )


def _check_stage(stage: TrackerStage, where: str) -> None:
    if min(stage.frames, stage.steps, stage.batch, stage.save_every) < 1:
        raise SettingsError(f"{where}: frames, steps, batch and save_every are at least 1")
    check_pace(stage, where)
