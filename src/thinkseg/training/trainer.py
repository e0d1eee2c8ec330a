"""`transformers.Trainer` for packed rows, with its arguments, adapters, precision and optimizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import SettingsError
from thinkseg.models import clock_of, resolve_model
from thinkseg.models.model_files import reading
from thinkseg.models.policies.qwen.checkpoint import COORDINATES, load_model, load_prompts, supports_bf16
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.log_probs import causal_lm_loss
from thinkseg.training.optimizers import create_optimizer
from thinkseg.training.recipes import ModelRecipe, OptimizationRecipe, RunRecipe
from thinkseg.types import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer, TrainingArguments

RESUME = "resume from this checkpoint (remove it to start the stage again)"

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
    model.accepts_loss_kwargs = True  # the Trainer then counts a step's labels over all its micro-batches
    frozen = not (source.create or source.train_vision)
    model.model.visual.requires_grad_(not frozen)
    if not source.lora:
        return model
    from peft import LoraConfig, get_peft_model

    if gradient_checkpointing:
        model.enable_input_require_grads()
    lora = source.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    return get_peft_model(model, config)


def uses_bf16(precision: str) -> bool:
    """Whether to compute in bf16. precision: "auto" means bf16 where the hardware supports it at full speed."""
    import torch

    if precision == "auto":
        return supports_bf16("cuda" if torch.cuda.is_available() else "cpu")
    return precision == "bf16"


def training_arguments(
    settings: OptimizationRecipe,
    folder: Path,
    tensorboard: Path,
    seed: int,
    precision: str,
    report_to: Sequence[str] | None,
    gradient_checkpointing: bool = False,
    **own: Any,
) -> TrainingArguments:
    """Makes the Trainer's arguments from the settings of a recipe.

    folder: for checkpoints. report_to: as in `training.recipes.RunRecipe`. own: further `TrainingArguments`.
    """
    import torch
    from transformers import TrainingArguments

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tensorboard)
    # transformers renamed it after 5.19, and warns about the earlier name.
    is_renamed = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    own["activation_checkpointing" if is_renamed else "gradient_checkpointing"] = gradient_checkpointing
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.num_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=uses_bf16(precision),
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
        save_steps=settings.save_steps,
        save_total_limit=1,
        train_sampling_strategy="sequential",  # the data are in random order already
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=["tensorboard"] if report_to is None else list(report_to),
        ddp_find_unused_parameters=False,
        **own,
    )


def trainer_class(optimizer: str) -> type[Trainer]:
    """Returns a Trainer for packed rows with an optimizer of `training.optimizers`.

    Its loss is the mean over the labelled tokens of a step.
    """
    import transformers

    class PackedTrainer(transformers.Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if "labels" not in inputs:
                outputs = model(**inputs)
                return (outputs["loss"], outputs) if return_outputs else outputs["loss"]
            loss = causal_lm_loss(model, inputs, num_items_in_batch)
            if num_items_in_batch is not None:  # counts all processes, while gradients are averaged over them
                loss = loss * distributed.world_size()
            return (loss, {}) if return_outputs else loss

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                trained: Any = self.model if model is None else model
                decayed = self.get_decay_parameter_names(trained)
                rate, decay = self.args.learning_rate, self.args.weight_decay
                self.optimizer = create_optimizer(optimizer, trained, rate, decay, decayed)
            return self.optimizer

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # Checkpoints of Qwen2.5-VL use the hub's names of weights, which differ from those in memory. The stock
            # method would skip these weights and resume with the initial ones.
            if isinstance(self.model, transformers.PreTrainedModel):
                self.model.load_state_dict(load_model(resume_from_checkpoint, "fp32").state_dict())
                return
            with reading(resume_from_checkpoint, RESUME):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            with reading(str(checkpoint), RESUME):
                super()._load_optimizer_and_scheduler(checkpoint)

        def _load_rng_state(self, checkpoint: str | None) -> None:
            with reading(str(checkpoint), RESUME):
                super()._load_rng_state(checkpoint)

    return PackedTrainer
