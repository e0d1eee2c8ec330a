"""The recipe of supervised fine-tuning: stages and their data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from thinkseg.storage.settings_file import read_yaml
from thinkseg.training.recipes import (
    FROM_LIST,
    CategoryWeights,
    Count,
    FolderName,
    Index,
    OptimizationRecipe,
    Rate,
    RunRecipe,
    check_names,
)

DataKind = Literal[
    "traces",
    "answers",
    "keyframe_only",
    "first_visible_keyframe",
    "two_turns",
    "two_turns_boxes_only",
    "single_frame_questions",
    "list_objects",
    "list_objects_single_frame",
    "cot",
    "cot_answers",
    "cot_keyframe_only",
]
"""Kinds of training data; `training.sft.data` describes them."""

COT_KINDS = {"cot", "cot_answers", "cot_keyframe_only"}
"""Kinds that are read from a chain-of-thought set; the others are generated, without end."""


class Stage(OptimizationRecipe):
    """One training stage.

    objective: "vision_probe" trains the vision tower only, to predict object and box from each visual token;
        "causal_lm" trains the model to predict the next token.
    batch_size: rows (causal_lm) or clips (vision_probe) per forward pass.
    data: weights of the kinds of data (causal_lm only). questions_per_clip: dialogues packed into one row.
    category_weights: how often questions of a category are sampled on shapes; replaces values of
        `data.shapes.episodes.CATEGORY_WEIGHTS`. Weights need not sum to 1, and 0 is never.
    noise_word_rate: fraction of the questions on shapes to which made-up words without meaning are added.
    dataloader_num_workers: processes that make data.
    """

    name: FolderName
    objective: Literal["vision_probe", "causal_lm"]
    batch_size: Count
    data: Mapping[DataKind, Rate] = Field(default_factory=dict)
    questions_per_clip: Count = 1
    category_weights: CategoryWeights = Field(default_factory=dict)
    noise_word_rate: float = Field(default=0.0, ge=0, le=1)
    gradient_accumulation_steps: Count = 1
    dataloader_num_workers: int = Field(default=1, ge=0, le=256)

    @property
    def reads_cot_set(self) -> bool:
        return not COT_KINDS.isdisjoint(self.data)

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.epochs and not (self.data and self.data.keys() <= COT_KINDS):
            raise ValueError("`epochs` need data of a known size, `cot`, and shapes have none; give `steps`")
        if (self.objective == "causal_lm") != bool(self.data):
            raise ValueError("`data` is required for causal_lm, e.g. {traces: 1.0}, and must be empty for vision_probe")
        return self


class Recipe(RunRecipe):
    """One training run.

    clip_offset: first clip of the train split of shapes; lets a run that continues another use new clips.
    cot_set: folder of a set that `thinkseg annotate` wrote, for the data `cot` and its parts.
    """

    stages: Annotated[tuple[Stage, ...], FROM_LIST]
    clip_offset: Index = 0
    cot_set: str | None = None

    @property
    def optimizers(self) -> Collection[str]:
        return {stage.optimizer for stage in self.stages}

    @field_validator("stages")
    @classmethod
    def _check_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        check_names([stage.name for stage in stages])
        return stages

    @model_validator(mode="after")
    def _check_cot_set(self) -> Self:
        if any(stage.reads_cot_set for stage in self.stages) != (self.cot_set is not None):
            raise ValueError("`cot_set` is required for the data `cot`, and only for it")
        return self


def load_recipe(path: str | Path, *overrides: Mapping[str, Any]) -> Recipe:
    """Reads a recipe, with some of its fields overridden, see `read_yaml`. Raises SettingsError."""
    return read_yaml(Recipe, path, *overrides)
