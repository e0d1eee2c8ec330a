"""Trains a policy with group relative policy optimization (GRPO), on `transformers.Trainer`.

    out/recipe.json          the settings of the run, with default values
    out/fingerprints.json    of the initial policy, the prompts and the data, which must not change
    out/log.jsonl            one line per step: see `training.grpo.metrics`
    out/tensorboard/         the same values for TensorBoard
    out/rollouts/            pages with rollouts and their rewards
    out/checkpoint-N/        removed at the end
    out/model/               the trained policy, in save_pretrained layout

A step samples groups of rollouts (`training.grpo.rollouts`), scores them (`rewards.groups`), packs each group into one
row (`training.grpo.batches`) and updates the policy once (`training.grpo.loss`). The rollouts of a group share their
prompt: its frames and text are computed once, in the rollouts and in the update.

A run that was killed resumes from its last checkpoint when it is started with the same recipe and folder. Samples
depend on the seed and the index of the step only, except those of vLLM servers.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import get_chain
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.errors import ModelError
from thinkseg.models import resolve_model
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.policies.qwen.checkpoint import load, save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, last_checkpoint, publish
from thinkseg.training.grpo.metrics import reduce_metrics
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.servers import connect
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.trainer import resolve_view, run_view, trainable, training_arguments, uses_bf16
from thinkseg.types import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer, TrainerCallback

STAGE = "grpo"
"""The name of the run's only stage in its log."""


def train(recipe: GrpoRecipe, out: str | Path) -> Path:
    """Runs a recipe, or resumes its run. Returns the folder of the trained model.

    Raises SettingsError if `out` holds the run of another recipe, policy or data set, or is in use, or if the recipe
    cannot be run here.
    """
    view = run_view(recipe)
    distributed.check_devices()
    distributed.per_process(recipe.prompts_per_step, "prompts_per_step")
    out = Path(out)
    done = out / "model"
    prompts = PromptDataset(recipe.data, recipe.num_frames, recipe.seed)
    prompts.check_times(view)
    recipe = recipe.resolved(prompts.epoch_size, recipe.prompts_per_step)
    reads_tracker = recipe.rewards.get("consistency") and recipe.tracker != "flow"
    inputs = {
        "policy": checkpoint_fingerprint(resolve_model(str(recipe.model.name))),
        "tracker": checkpoint_fingerprint(recipe.tracker) if reads_tracker else {},
        "prompts": {recipe.chain: prompt_fingerprint(get_chain(recipe.chain), view)},
        "data": prompts.fingerprint(),
    }
    with claimed(recipe, out, inputs):
        if not done.is_dir():
            model, encoder = _trained(recipe, view, prompts, out)
            publish(done, lambda parts: save(model, encoder, parts, view))
    return done


def _trained(recipe: GrpoRecipe, view: View, prompts: PromptDataset, out: Path) -> tuple[PreTrainedModel, Encoder]:
    """Returns the policy after all steps, with its adapter merged."""
    import torch

    if recipe.vllm:
        connect(recipe.vllm).close()  # an error now, and not once the model is loaded
    source = resolve_model(str(recipe.model.name))
    bf16 = uses_bf16(recipe.precision)
    # On the device of the Trainer, so that the reference, a copy, is there too.
    model, encoder = load(source, "bf16" if bf16 and recipe.model.lora else "fp32", distributed.device())
    view = resolve_view(view, model, encoder)
    torch.manual_seed(recipe.seed)  # the same initial adapter after an interruption
    reference = copy.deepcopy(model).eval().requires_grad_(False) if recipe.beta and not recipe.model.lora else None
    trained = trainable(model, recipe.model, recipe.gradient_checkpointing)
    step = GrpoStep(recipe, prompts, trained, reference, encoder, view, out)
    trainer = _trainer(recipe, out, step)
    try:
        trainer.train(resume_from_checkpoint=last_checkpoint(out))
    except torch.OutOfMemoryError:
        advice = "" if recipe.gradient_checkpointing else "set gradient_checkpointing, or "
        advice += f"lower num_generations, now {recipe.num_generations}"
        raise ModelError(f"out of memory in the update: {advice}") from None
    finally:
        step.policy.close()
    return trained.merge_and_unload() if recipe.model.lora else model, encoder


def _trainer(recipe: GrpoRecipe, out: Path, step: GrpoStep) -> Trainer:
    from transformers import PrinterCallback

    from thinkseg.training.log import JsonLines

    arguments = training_arguments(
        recipe,
        out,
        out / "tensorboard",
        seed=recipe.seed,
        precision=recipe.precision,
        report_to=recipe.report_to,
        gradient_checkpointing=recipe.gradient_checkpointing,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=distributed.per_process(recipe.prompts_per_step, "prompts_per_step"),
        logging_steps=1,
    )
    trainer = _trainer_class(recipe.optimizer)(
        step,
        model=step.model,
        args=arguments,
        train_dataset=_PromptIndices(recipe.num_steps * recipe.prompts_per_step),
        data_collator=_only,
        callbacks=[_skip_update(step), *([JsonLines(out, STAGE)] if distributed.rank() == 0 else [])],
    )
    trainer.remove_callback(PrinterCallback)  # JsonLines prints the same
    return trainer


def _skip_update(step: GrpoStep) -> TrainerCallback:
    """Returns a callback that keeps the weights unchanged in a step without an informative group.

    Gradients of zero would not: the optimizer would still apply momentum and weight decay.
    """
    from transformers import TrainerCallback

    class SkipUpdate(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            if not step.informative:
                step.model.zero_grad(set_to_none=True)

    return SkipUpdate()


class _PromptIndices:
    """The indices of a run's prompts as a map-style data set. `GrpoStep.prepare` loads the prompts."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        return index


def _only(indices: list[int]) -> dict[str, int]:
    """The collator of batches of size 1."""
    return {"index": indices[0]}


def _trainer_class(optimizer: str) -> type[Any]:
    """Returns a Trainer that rolls out where the stock one requests the batches of a step."""
    from thinkseg.training.trainer import trainer_class

    class GrpoTrainer(trainer_class(optimizer)):  # type: ignore[misc]
        def __init__(self, step: GrpoStep, **settings: Any) -> None:
            super().__init__(**settings)
            self.step = step
            self.step.model = self.model

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], int]:
            batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
            groups = self.step.prepare([int(batch["index"]) for batch in batches], self.state.global_step)
            return [{"group": group} for group in groups], 1

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            loss = self.step.loss(model, inputs["group"])
            return (loss, {}) if return_outputs else loss

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            return 0  # the stock estimate expects padded batches

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs | reduce_metrics(distributed.all_gather(self.step.metrics.pop())), start_time)

    return GrpoTrainer
