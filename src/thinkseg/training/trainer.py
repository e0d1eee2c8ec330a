"""Prepares a recipe's view and model for training: sizes, adapters, precision, sharding."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import SettingsError
from thinkseg.models import clock_of, resolve_model
from thinkseg.models.loading import Precision
from thinkseg.models.policies.qwen.checkpoint import COORDINATES, load, load_prompts, supports_bf16
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.loop.sharding import shard
from thinkseg.training.recipes import ModelRecipe, RunRecipe
from thinkseg.types import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def run_view(recipe: RunRecipe) -> View:
    """Returns a recipe's view with the label unit and the wording of its model's checkpoint, unless it has its own.

    Raises SettingsError if the checkpoint was trained with another label unit or has an invalid wording, ModelError if
    it cannot be read.
    """
    view, name = recipe.view, recipe.model.name
    if name is None:
        return view
    trained, asked = clock_of(name), recipe.label_unit
    if asked and trained not in ("auto", asked):
        raise SettingsError(f"model.name: {name} was trained on {trained}, the recipe has {asked}; drop label_unit")
    unit = view.label_unit if trained == "auto" else trained
    return replace(view, label_unit=unit, prompts=view.prompts or load_prompts(resolve_model(name)))


def resolve_view(view: View, model: PreTrainedModel, encoder: Encoder) -> View:
    """Returns a recipe's view with the box coordinates of the model. Raises SettingsError for unsupported sizes."""
    check_sizes(view, encoder.size_multiple)
    return replace(view, coordinates=COORDINATES[model.config.model_type])


def check_sizes(view: View, multiple: int) -> None:
    """Raises SettingsError if a side of the frames or closeups is not a multiple of `multiple` pixels."""
    for name, size_wh in (("frame_wh", view.frame_wh), ("closeup_wh", view.closeup_wh or ())):
        if any(side % multiple for side in size_wh):
            raise SettingsError(f"{name}: {list(size_wh)} are not multiples of {multiple}; choose sides that are")


def trainable(model: Any, source: ModelRecipe, gradient_checkpointing: bool) -> Any:
    """Prepares a model for training: freezes or unfreezes the vision tower, and adds the recipe's LoRA adapter."""
    frozen = not (source.create or source.train_vision)
    model.model.visual.requires_grad_(not frozen)
    if gradient_checkpointing:
        checkpoint_activations(model)
    if not source.lora:
        return model
    from peft import LoraConfig, get_peft_model

    lora = source.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft 0.21 reads it
        return get_peft_model(model, config)


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Makes the layers of a model compute their activations again in the backward pass."""
    # transformers renamed it after 5.19, and warns about the earlier name.
    is_renamed = hasattr(model, "activation_checkpointing_enable")
    enable = model.activation_checkpointing_enable if is_renamed else model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bf16. precision: "auto" means bf16 where the hardware supports it at full speed."""
    import torch

    if precision == "auto":
        return supports_bf16("cuda" if torch.cuda.is_available() else "cpu")
    return precision == "bf16"


def autocasts(recipe: RunRecipe) -> bool:
    """Whether a run computes in bf16 by autocast. Sharded parameters are gathered in bf16 instead."""
    return uses_bf16(recipe.precision) and recipe.sharding == "none"


def load_initial(recipe: RunRecipe, folder: str | Path, to_shard: bool) -> tuple[Any, Encoder]:
    """Loads a model to train and its encoder.

    to_shard: whether `placed` follows, in a sharded run. The weights then are pages of their file, so that no process
    ever holds all of them.
    """
    is_sharded = recipe.sharding == "full"
    precision: Precision = "bf16" if uses_bf16(recipe.precision) and recipe.model.lora else "fp32"
    return load(
        folder, "stored" if is_sharded and to_shard else precision, "cpu" if is_sharded else distributed.device()
    )


def placed(model: Any, recipe: RunRecipe) -> Any:
    """Shards a model if the recipe says so, else moves it to the device of this process."""
    if recipe.sharding == "full":
        return shard(model, uses_bf16(recipe.precision), recipe.cpu_offload)
    return model.to(distributed.device())
