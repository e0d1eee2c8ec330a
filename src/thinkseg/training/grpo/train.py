"""Group-relative policy optimisation (GRPO): a recipe in, a better policy out, on `transformers.Trainer`.

    out/recipe.json          the settings of the run, defaults included
    out/log.jsonl            one line a step: rewards, failures, lengths, KL, seconds
    out/tensorboard/         the same for TensorBoard
    out/rollouts/            pages that show what was written, and what it was worth
    out/checkpoint-N/        while the run lasts
    out/model/               the result, in the ordinary layout

A step rolls out groups of attempts at some prompts (`train.rollouts`), scores them (`rewards.group`), packs each group
into one row (`train.groups`), and updates the policy once (`train.objective`). What belongs to one prompt, its frames
and its words, is computed once for all attempts at it, in the rollouts as in the update.

Killed at any moment and started again with the same recipe and folder, a run goes on from its last checkpoint. What is
drawn in a step depends on the seed and the number of the step alone.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import CHAINS
from thinkseg.errors import ModelError
from thinkseg.models import load_tracker, place_of
from thinkseg.models.answering import Drawing
from thinkseg.models.encoder import Encoder
from thinkseg.models.generation import Engine, mixed_seed
from thinkseg.models.qwen import autocast, load_model, save
from thinkseg.models.vision import Vision
from thinkseg.rewards import Prompt, checked_weights
from thinkseg.rewards.group import score_group
from thinkseg.train import processes, run
from thinkseg.train.groups import Group, Lesson, batch, lessons
from thinkseg.train.grpo_recipe import GrpoRecipe
from thinkseg.train.objective import advantages, kl_estimate, policy_loss
from thinkseg.train.pages import write_rollouts
from thinkseg.train.prompts import Prompts
from thinkseg.train.rollouts import roll_out
from thinkseg.train.telling import Telling, joined, told
from thinkseg.train.words import likelihood
from thinkseg.types import Outcome, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer, TrainerCallback

STAGE = "grpo"
"""What a run is called in its logs."""


def train(recipe: GrpoRecipe, out: Path) -> Path:
    """Runs a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe or is in use, or if it cannot be run.
    """
    processes.check_devices()
    processes.share(recipe.prompts, "prompts")
    done = out / "model"
    with run.claimed(recipe, out):
        if not done.is_dir():
            model, encoder = _trained(recipe, out)
            run.publish(done, lambda parts: save(model, encoder, parts, recipe.view))
    return done


def _trained(recipe: GrpoRecipe, out: Path) -> tuple[PreTrainedModel, Encoder]:
    """The policy as it is after all steps, without its adapter."""
    import torch

    source = place_of(str(recipe.model.name))
    bf16 = run.bf16(recipe.precision)
    # Where the Trainer will train it, so that a frozen copy is there too.
    model = load_model(source, "bf16" if bf16 and recipe.model.lora else "fp32", processes.device())
    encoder = Encoder.load(source)
    view = run.checked_view(recipe.view, model, encoder)
    torch.manual_seed(recipe.seed)  # an adapter begins alike after an interruption
    reference = copy.deepcopy(model).eval().requires_grad_(False) if recipe.beta and not recipe.model.lora else None
    trained = run.trainable(model, recipe.model, recipe.gradient_checkpointing)
    trainer = _trainer(recipe, out, Step(recipe, trained, reference, encoder, view, out))
    try:
        trainer.train(resume_from_checkpoint=run.last_checkpoint(out))
    except torch.OutOfMemoryError:
        advice = "lower rollouts" if recipe.gradient_checkpointing else "set gradient_checkpointing, or lower rollouts"
        raise ModelError(f"out of memory in the update of {recipe.rollouts} rollouts of a prompt: {advice}") from None
    return trained.merge_and_unload() if recipe.model.lora else model, encoder


class Step:
    """One step's work, apart from the optimizer's.

    model: what is trained, under its adapter if it has one. reference: what it must not stray from; None for a model
    whose adapter can be turned off, or if there is no need of one.
    """

    def __init__(
        self, recipe: GrpoRecipe, model: Any, reference: PreTrainedModel | None, encoder: Encoder, view: View, out: Path
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.reference = reference
        self.encoder = encoder
        self.view = view
        self.out = out
        self.weights = checked_weights(recipe.rewards)
        self.tracker = load_tracker(recipe.tracker) if "consistency" in self.weights else None
        self.prompts = Prompts(recipe.data, recipe.num_frames, recipe.seed)
        self.vision = Vision(model)
        self.frozen = not recipe.model.train_vision
        self.telling = Telling()
        self.teaches = True

    def collect(self, numbers: Sequence[int], step: int) -> list[Lesson | None]:
        """Rolls out and scores this process's prompts of a step, by their numbers: a lesson from each, if there is one.

        Notes in `teaches` whether there is anything to learn from the step, in this process or another.
        """
        self.vision.forget()
        started = time.perf_counter()
        prompts = [self.prompts[number] for number in numbers]
        outcomes = self._rolled_out(prompts, step)
        rolled_out = time.perf_counter()
        groups = self._scored(prompts, outcomes)
        scored = time.perf_counter()
        if processes.number() == 0 and self.recipe.show_every and step % self.recipe.show_every == 0:
            write_rollouts(groups, step, self.out / "rollouts")
        if not self.frozen:
            self.vision.forget()
        made = lessons(
            groups,
            self.encoder,
            self.recipe.normalisation,
            self.recipe.max_new_tokens,
            self.recipe.exclude_truncated,
        )
        self.teaches = any(processes.everyones(any(group.teaches for group in groups)))
        self.telling.begin(told(groups, self.weights), rolled_out - started, scored - rolled_out)
        return made

    def _rolled_out(self, prompts: Sequence[Prompt], step: int) -> list[list[Outcome]]:
        import torch

        recipe = self.recipe
        drawing = Drawing(recipe.temperature, recipe.max_new_tokens, recipe.tokens_at_once)
        training = self.model.training
        self.model.eval()
        try:
            with autocast(str(self.model.device), run.bf16(recipe.precision)):
                return roll_out(
                    prompts,
                    CHAINS[recipe.chain],
                    Engine(self.model, self.encoder, self.vision),
                    self.view,
                    recipe.rollouts,
                    drawing,
                    mixed_seed(recipe.seed, step * processes.count() + processes.number()),
                )
        except torch.OutOfMemoryError:
            raise ModelError(
                f"out of memory while rolling out: lower tokens_at_once, now {recipe.tokens_at_once:,}"
            ) from None
        finally:
            self.model.train(training)

    def _scored(self, prompts: Sequence[Prompt], outcomes: Sequence[Sequence[Outcome]]) -> list[Group]:
        """Scores the groups side by side: trackers work outside of Python, and the frames are decoded by now."""
        cores = max(1, (os.cpu_count() or 1) // processes.count())
        with ThreadPoolExecutor(cores, "score") as pool:
            return list(pool.map(self._group, prompts, outcomes))

    def _group(self, prompt: Prompt, outcomes: Sequence[Outcome]) -> Group:
        scores = score_group(prompt, outcomes, self.weights, self.tracker)
        return Group(
            prompt,
            tuple(outcomes),
            tuple(scores),
            advantages([score.total for score in scores], self.recipe.scaled),
        )

    def loss(self, model: Any, lesson: Lesson | None) -> torch.Tensor:
        """One lesson's share of the step's loss. model: as `self.model`, perhaps wrapped."""
        import torch

        if lesson is None:
            # Nothing to learn, and a gradient of nothing at all, not of zeros.
            return torch.zeros((), device=self.model.device, requires_grad=True)
        inputs = _moved(batch(lesson, self.encoder, self.vision if self.frozen else None), self.model.device)
        logp, entropy = likelihood(model, inputs, self.recipe.temperature)
        advantage, weight = (torch.from_numpy(v).to(logp.device) for v in (lesson.advantage, lesson.weight))
        kl = None
        if self.recipe.beta:
            with torch.no_grad():
                against = self._of_reference(inputs)
            kl = kl_estimate(logp, against)
        if lesson.weight.any():
            self.telling.learned(entropy, None if kl is None else kl.detach())
        return policy_loss(logp, advantage, weight, kl, self.recipe.beta)

    def _of_reference(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities of the same words for the policy that the run began with.

        In the precision that the Trainer gives the policy, or rounding would be taken for a divergence.
        """
        with autocast(str(self.model.device), run.bf16(self.recipe.precision)):
            if self.reference is not None:
                return likelihood(self.reference, inputs, self.recipe.temperature).logp
            with self.model.disable_adapter():
                return likelihood(self.model, inputs, self.recipe.temperature).logp


def _moved(inputs: Any, device: Any) -> Any:
    """The same on another device; features of images are there already."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}


def _trainer(recipe: GrpoRecipe, out: Path, step: Step) -> Trainer:
    from transformers import PrinterCallback

    from thinkseg.train.log import JsonLines

    arguments = run.arguments(
        recipe,
        out,
        out / "tensorboard",
        seed=recipe.seed,
        precision=recipe.precision,
        report_to=recipe.report_to,
        activation_checkpointing=recipe.gradient_checkpointing,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=processes.share(recipe.prompts, "prompts"),
        logging_steps=1,
    )
    trainer = _trainer_class(recipe.optimizer)(
        step,
        model=step.model,
        args=arguments,
        train_dataset=_Numbers(recipe.steps * recipe.prompts),
        data_collator=_first,
        callbacks=[_idle(step), *([JsonLines(out, STAGE)] if processes.number() == 0 else [])],
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
    from thinkseg.train.sft import trainer_class

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
            super().log(logs | joined(processes.everyones(self.step.telling.end())), start_time)

    return GrpoTrainer
