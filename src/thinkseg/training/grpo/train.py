"""Trains a policy with group relative policy optimization (GRPO).

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

from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import get_chain
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.errors import ModelError
from thinkseg.models import resolve_model
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.policies.qwen.checkpoint import save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, publish
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.servers import connect
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.loop.log import RunLog
from thinkseg.training.loop.run import train as run_steps
from thinkseg.training.loop.sharding import restored
from thinkseg.training.trainer import load_initial, placed, resolve_view, run_view, trainable
from thinkseg.types import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    distributed.connect(always=recipe.sharding == "full")
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


def _trained(recipe: GrpoRecipe, view: View, prompts: PromptDataset, out: Path) -> tuple[Any, Encoder]:
    """Returns the policy after all steps, with its adapter merged; in the main process only if it is sharded."""
    import torch

    if recipe.vllm:
        connect(recipe.vllm).close()  # an error now, and not once the model is loaded
    model, encoder = _initial(recipe)
    view = resolve_view(view, model, encoder)
    reference = _reference(recipe)
    trained = placed(_trainable(recipe, model), recipe)
    step = GrpoStep(recipe, prompts, trained, reference, encoder, view, out)
    log = RunLog(out, STAGE, out / "tensorboard", recipe.report_to)
    try:
        run_steps(step, recipe, out, log, recipe.seed)
    except torch.OutOfMemoryError:
        advice = "" if recipe.gradient_checkpointing else "set gradient_checkpointing, or "
        advice += f"lower num_generations, now {recipe.num_generations}"
        raise ModelError(f"out of memory in the update: {advice}") from None
    finally:
        step.policy.close()
    whole = restored(trained, lambda: _trainable(recipe, _initial(recipe, to_shard=False)[0]))
    return whole.merge_and_unload() if whole and recipe.model.lora else whole, encoder


def _initial(recipe: GrpoRecipe, to_shard: bool = True) -> tuple[PreTrainedModel, Encoder]:
    return load_initial(recipe, resolve_model(str(recipe.model.name)), to_shard)


def _reference(recipe: GrpoRecipe) -> Any:
    """The frozen initial policy for the KL; None if there is no KL, or an adapter can be turned off."""
    if not recipe.beta or recipe.model.lora:
        return None
    return placed(_initial(recipe)[0].requires_grad_(False), recipe)


def _trainable(recipe: GrpoRecipe, model: PreTrainedModel) -> Any:
    import torch

    torch.manual_seed(recipe.seed)  # the same initial adapter in all processes and after an interruption
    return trainable(model, recipe.model, recipe.gradient_checkpointing)
