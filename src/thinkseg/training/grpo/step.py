"""One GRPO step: roll out, score, loss."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import CHAINS
from thinkseg.errors import ModelError
from thinkseg.models import load_tracker
from thinkseg.models.policies.qwen.checkpoint import autocast
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache
from thinkseg.models.policies.sampling import SamplingParams, mixed_seed
from thinkseg.report.rollouts_page import write_rollouts
from thinkseg.rewards import Prompt, checked_weights
from thinkseg.rewards.groups import Group, score_group
from thinkseg.training import distributed
from thinkseg.training.grpo.batches import PackedGroup, batch, lessons
from thinkseg.training.grpo.loss import advantages, kl_estimate, policy_loss
from thinkseg.training.grpo.metrics import StepMetrics, told
from thinkseg.training.grpo.prompt_sampler import Prompts
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.rollouts import roll_out
from thinkseg.training.log_probs import token_logprobs
from thinkseg.training.trainer import uses_bf16
from thinkseg.types import Outcome, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


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
        self.vision = ImageFeatureCache(model)
        self.frozen = not recipe.model.train_vision
        self.telling = StepMetrics()
        self.teaches = True

    def collect(self, numbers: Sequence[int], step: int) -> list[PackedGroup | None]:
        """Rolls out and scores this process's prompts of a step, by their numbers: a lesson from each, if there is one.

        Notes in `teaches` whether there is anything to learn from the step, in this process or another.
        """
        self.vision.clear()
        started = time.perf_counter()
        prompts = [self.prompts[number] for number in numbers]
        outcomes = self._rolled_out(prompts, numbers, step)
        rolled_out = time.perf_counter()
        groups = self._scored(prompts, outcomes)
        scored = time.perf_counter()
        if distributed.rank() == 0 and self.recipe.log_rollouts_steps and step % self.recipe.log_rollouts_steps == 0:
            write_rollouts(groups, step, self.out / "rollouts")
        if not self.frozen:
            self.vision.clear()
        made = lessons(
            groups,
            self.encoder,
            self.recipe.loss_type,
            self.recipe.max_new_tokens,
            self.recipe.mask_truncated_completions,
        )
        self.teaches = any(distributed.all_gather(any(group.informative for group in groups)))
        self.telling.begin(told(groups, self.weights), rolled_out - started, scored - rolled_out)
        return made

    def _rolled_out(self, prompts: Sequence[Prompt], numbers: Sequence[int], step: int) -> list[list[Outcome]]:
        import torch

        recipe = self.recipe
        sampling = SamplingParams(recipe.temperature, recipe.max_new_tokens, recipe.seed, recipe.max_cache_tokens)
        training = self.model.training
        self.model.eval()
        try:
            with autocast(str(self.model.device), uses_bf16(recipe.precision)):
                return roll_out(
                    prompts,
                    CHAINS[recipe.chain],
                    Engine(self.model, self.encoder, self.vision),
                    self.view,
                    recipe.num_generations,
                    sampling,
                    [mixed_seed(step, number) for number in numbers],
                )
        except torch.OutOfMemoryError:
            raise ModelError(
                f"out of memory while rolling out: lower max_cache_tokens, now {recipe.max_cache_tokens:,}"
            ) from None
        finally:
            self.model.train(training)

    def _scored(self, prompts: Sequence[Prompt], outcomes: Sequence[Sequence[Outcome]]) -> list[Group]:
        """Scores the groups side by side: trackers work outside of Python, and the frames are decoded by now."""
        cores = max(1, (os.cpu_count() or 1) // distributed.world_size())
        with ThreadPoolExecutor(cores, "score") as pool:
            return list(pool.map(self._group, prompts, outcomes))

    def _group(self, prompt: Prompt, outcomes: Sequence[Outcome]) -> Group:
        scores = score_group(prompt, outcomes, self.weights, self.tracker)
        return Group(
            prompt,
            tuple(outcomes),
            tuple(scores),
            advantages([score.total for score in scores], self.recipe.scale_rewards),
        )

    def loss(self, model: Any, lesson: PackedGroup | None) -> torch.Tensor:
        """One lesson's share of the step's loss. model: as `self.model`, perhaps wrapped."""
        import torch

        if lesson is None:
            # Nothing to learn, and a gradient of nothing at all, not of zeros.
            return torch.zeros((), device=self.model.device, requires_grad=True)
        inputs = _moved(batch(lesson, self.encoder, self.vision if self.frozen else None), self.model.device)
        logp, entropy = token_logprobs(model, inputs, self.recipe.temperature)
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
        with autocast(str(self.model.device), uses_bf16(self.recipe.precision)):
            if self.reference is not None:
                return token_logprobs(self.reference, inputs, self.recipe.temperature).logp
            with self.model.disable_adapter():
                return token_logprobs(self.model, inputs, self.recipe.temperature).logp


def _moved(inputs: Any, device: Any) -> Any:
    """The same on another device; features of images are there already."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
