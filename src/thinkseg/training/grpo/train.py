"""Group-relative policy optimisation (GRPO): a recipe in, a better policy out, on `transformers.Trainer`.

    out/recipe.json          the settings of the run, defaults included
    out/log.jsonl            one line a step: rewards, failures, lengths, KL, seconds
    out/tensorboard/         the same for TensorBoard
    out/rollouts/            pages that show what was written, and what it was worth
    out/checkpoint-N/        while the run lasts
    out/model/               the result, in the ordinary layout

A step rolls out groups of attempts at some prompts (`training.grpo.rollouts`), scores them (`rewards.groups`), packs
each group
into one row (`training.grpo.batches`), and updates the policy once (`training.grpo.loss`). What belongs to one
prompt, its frames
and its words, is computed once for all attempts at it, in the rollouts as in the update.

Killed at any moment and started again with the same recipe and folder, a run goes on from its last checkpoint. What is
drawn in a step depends on the seed and the number of the step alone.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import load_model, save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, last_checkpoint, publish
from thinkseg.training.grpo.metrics import joined
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.step import Step
from thinkseg.training.trainer import resolve_view, trainable, training_arguments, uses_bf16

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer, TrainerCallback

STAGE = "grpo"
"""What a run is called in its logs."""


def train(recipe: GrpoRecipe, out: Path) -> Path:
    """Runs a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe or is in use, or if it cannot be run.
    """
    distributed.check_devices()
    distributed.per_process(recipe.prompts_per_step, "prompts_per_step")
    done = out / "model"
    with claimed(recipe, out):
        if not done.is_dir():
            model, encoder = _trained(recipe, out)
            publish(done, lambda parts: save(model, encoder, parts, recipe.view))
    return done


def _trained(recipe: GrpoRecipe, out: Path) -> tuple[PreTrainedModel, Encoder]:
    """The policy as it is after all steps, without its adapter."""
    import torch

    source = resolve_model(str(recipe.model.name))
    bf16 = uses_bf16(recipe.precision)
    # Where the Trainer will train it, so that a frozen copy is there too.
    model = load_model(source, "bf16" if bf16 and recipe.model.lora else "fp32", distributed.device())
    encoder = Encoder.load(source)
    view = resolve_view(recipe.view, model, encoder)
    torch.manual_seed(recipe.seed)  # an adapter begins alike after an interruption
    reference = copy.deepcopy(model).eval().requires_grad_(False) if recipe.beta and not recipe.model.lora else None
    trained = trainable(model, recipe.model, recipe.gradient_checkpointing)
    trainer = _trainer(recipe, out, Step(recipe, trained, reference, encoder, view, out))
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(out))
    except torch.OutOfMemoryError:
        advice = "" if recipe.gradient_checkpointing else "set gradient_checkpointing, or "
        advice += f"lower num_generations, now {recipe.num_generations}"
        raise ModelError(f"out of memory in the update: {advice}") from None
    return trained.merge_and_unload() if recipe.model.lora else model, encoder


def _trainer(recipe: GrpoRecipe, out: Path, step: Step) -> Trainer:
    from transformers import PrinterCallback

    from thinkseg.training.log import JsonLines

    arguments = training_arguments(
        recipe,
        out,
        out / "tensorboard",
        seed=recipe.seed,
        precision=recipe.precision,
        report_to=recipe.report_to,
        activation_checkpointing=recipe.gradient_checkpointing,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=distributed.per_process(recipe.prompts_per_step, "prompts_per_step"),
        logging_steps=1,
    )
    trainer = _trainer_class(recipe.optimizer)(
        step,
        model=step.model,
        args=arguments,
        train_dataset=_Numbers(recipe.steps * recipe.prompts_per_step),
        data_collator=_first,
        callbacks=[_idle(step), *([JsonLines(out, STAGE)] if distributed.rank() == 0 else [])],
    )
    trainer.remove_callback(PrinterCallback)  # ours prints the same
    return trainer


def _idle(step: Step) -> TrainerCallback:
    """Has the optimizer leave the weights alone in a step that teaches nothing, where gradients are zeros at most."""
    from transformers import TrainerCallback

    class Idle(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            if not step.teaches:
                step.model.zero_grad(set_to_none=True)

    return Idle()


class _Numbers:
    """The numbers of a run's prompts as a map-style data set: what they stand for is looked up when they are due."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        return index


def _first(numbers: list[int]) -> dict[str, int]:
    return {"number": numbers[0]}


def _trainer_class(optimizer: str) -> type[Any]:
    """A Trainer of `Step`s: it is asked for a step's batches at once, and there rolls out; the rest is stock."""
    from thinkseg.training.trainer import trainer_class

    class GrpoTrainer(trainer_class(optimizer)):  # type: ignore[misc]
        def __init__(self, step: Step, **settings: Any) -> None:
            super().__init__(**settings)
            self.step = step
            self.step.model = self.model

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], int]:
            drawn, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            made = self.step.collect([int(one["number"]) for one in drawn], self.state.global_step)
            return [{"lesson": lesson} for lesson in made], 1

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            loss = self.step.loss(model, inputs["lesson"])
            return (loss, {}) if return_outputs else loss

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            return 0  # the stock estimate counts the padded tokens of a batch, and there is none here

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs | joined(distributed.all_gather(self.step.telling.end())), start_time)

    return GrpoTrainer
