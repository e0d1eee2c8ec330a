"""One GRPO step: roll out, score, loss."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import get_chain
from thinkseg.errors import ModelError
from thinkseg.models import load_tracker
from thinkseg.models.policies.qwen.checkpoint import autocast
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache
from thinkseg.models.policies.sampling import SamplingParams, mixed_seed
from thinkseg.report.pages.rollouts import write_rollouts
from thinkseg.rewards import Prompt, checked_weights
from thinkseg.rewards.groups import Group, score_group
from thinkseg.training import distributed
from thinkseg.training.grpo.batches import PackedGroup, model_inputs, pack_groups
from thinkseg.training.grpo.loss import advantages, importance_weights, kl_estimate, policy_loss
from thinkseg.training.grpo.metrics import StepMetrics, reduce_metrics
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.rollouts import LocalRollouts, RolloutPolicy, roll_out, roll_out_each
from thinkseg.training.grpo.servers import connect
from thinkseg.training.grpo.vllm_rollouts import VllmRollouts
from thinkseg.training.grpo.weight_sync import WeightSync
from thinkseg.training.log_probs import token_logprobs
from thinkseg.training.loop.run import to_device
from thinkseg.training.loop.sharding import gathered
from thinkseg.training.trainer import autocasts, uses_bf16
from thinkseg.types import Outcome, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class GrpoStep:
    """The work of one step except that of the optimizer; a `training.loop.run.Task`.

    model: the policy to train, under its adapter if it has one. reference: the initial policy, for the KL; None if the
    adapter can be turned off instead, or if `recipe.beta` is 0.
    informative: whether the current step has a gradient, from this process or another.
    """

    def __init__(
        self,
        recipe: GrpoRecipe,
        prompts: PromptDataset,
        model: Any,
        reference: PreTrainedModel | None,
        encoder: Encoder,
        view: View,
        out: Path,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.device = distributed.device()
        self.reference = reference
        self.encoder = encoder
        self.view = view
        self.out = out
        self.weights = checked_weights(recipe.rewards)
        self.tracker = load_tracker(recipe.tracker) if "consistency" in self.weights else None
        self.prompts = prompts
        self.vision = ImageFeatureCache(model, self.device)
        self.vision_frozen = not recipe.model.train_vision
        self.policy = self._rollout_policy()
        self.collected = StepMetrics()
        self.informative = True

    def _rollout_policy(self) -> RolloutPolicy:
        recipe = self.recipe
        sampling = SamplingParams(recipe.temperature, recipe.max_new_tokens, recipe.seed, recipe.max_cache_tokens)
        if recipe.vllm is None:
            engine = Engine(self.model, self.encoder, self.vision, device=self.device)
            return LocalRollouts(engine, self.view, sampling)
        folder = Path(recipe.vllm.sync_dir or self.out / "sync")
        bf16 = uses_bf16(recipe.precision)
        weights = WeightSync(connect(recipe.vllm), folder, recipe.vllm.sync == "adapter", bf16)
        return VllmRollouts(weights, self.encoder, self.view, sampling)

    def micro_batches(self, step: int) -> list[PackedGroup | None]:
        """Prepares this process's part of the prompts of a step."""
        first, processes = step * self.recipe.prompts_per_step, distributed.world_size()
        return self.prepare(range(first + distributed.rank(), first + self.recipe.prompts_per_step, processes), step)

    def prepare(self, indices: Sequence[int], step: int) -> list[PackedGroup | None]:
        """Rolls out, scores and packs this process's prompts of a step. None: a group to skip.

        indices: of the prompts in the run. Sets `informative`.
        """
        self.vision.clear()
        self.collected.start()
        groups = self._scored_groups([self.prompts[index] for index in indices], indices, step)
        self._log_rollouts(groups, step)
        if not self.vision_frozen:
            self.vision.clear()
        packed = self._pack(groups)
        self.informative = any(distributed.all_gather(any(group.informative for group in groups)))
        self.collected.add_rollouts(groups)
        return packed

    def _scored_groups(self, prompts: Sequence[Prompt], indices: Sequence[int], step: int) -> list[Group]:
        """Scores each group in a thread while others are still sampled: trackers release the GIL."""
        cores = max(1, (os.cpu_count() or 1) // distributed.world_size())
        with ThreadPoolExecutor(cores, "score") as pool:
            with self.collected.timed("rollout"):
                scored = {
                    i: pool.submit(self._score_group, prompts[i], outcomes)
                    for i, outcomes in self._roll_out(prompts, indices, step)
                }
            with self.collected.timed("reward"):
                return [scored[i].result() for i in range(len(prompts))]

    def _roll_out(
        self, prompts: Sequence[Prompt], indices: Sequence[int], step: int
    ) -> Iterable[tuple[int, list[Outcome]]]:
        """Returns each prompt's group with its index: all at once, or from servers as soon as one is complete."""
        recipe = self.recipe
        seeds = [mixed_seed(step, index) for index in indices]
        chain = get_chain(recipe.chain)

        def sample(prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[list[Outcome]]:
            return roll_out(prompts, chain, self.policy, self.view, recipe.num_generations, seeds)

        self.policy.sync(self.model, step)
        if recipe.vllm:
            return roll_out_each(prompts, seeds, sample)
        with self._sampling():
            return enumerate(sample(prompts, seeds))

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """The mode of a model that samples in this process."""
        import torch

        training = self.model.training
        self.model.eval()
        try:
            with gathered(self.model), autocast(self.device, autocasts(self.recipe)):
                yield
        except torch.OutOfMemoryError:
            raise ModelError(
                f"out of memory in the rollouts: lower max_cache_tokens, now {self.recipe.max_cache_tokens:,}"
            ) from None
        finally:
            self.model.train(training)

    def _score_group(self, prompt: Prompt, outcomes: Sequence[Outcome]) -> Group:
        scores = score_group(prompt, outcomes, self.weights, self.tracker)
        return Group(
            prompt,
            tuple(outcomes),
            tuple(scores),
            advantages([score.total for score in scores], self.recipe.scale_rewards),
        )

    def _log_rollouts(self, groups: Sequence[Group], step: int) -> None:
        every = self.recipe.log_rollouts_steps
        if distributed.rank() == 0 and every and step % every == 0:
            write_rollouts(groups, step, self.out / "rollouts")

    def _pack(self, groups: Sequence[Group]) -> list[PackedGroup | None]:
        recipe = self.recipe
        return pack_groups(
            groups, self.encoder, recipe.loss_type, recipe.max_new_tokens, recipe.mask_truncated_completions
        )

    def loss(self, packed: PackedGroup | None) -> torch.Tensor:
        """Returns one group's part of the step's loss, a scalar."""
        import torch

        if packed is None:
            # A constant: no parameter gets a gradient, not even one of zeros.
            return torch.zeros((), device=self.device, requires_grad=True)
        if self.recipe.vllm:
            self.vision.clear()  # one pass of the tower per group, as in every other process
        with autocast(self.device, autocasts(self.recipe)):
            inputs = to_device(model_inputs(packed, self.encoder, self.vision if self.vision_frozen else None))
            logp, entropy = token_logprobs(self.model, inputs, self.recipe.temperature)
        advantage, weight = (torch.from_numpy(v).to(logp.device) for v in (packed.advantage, packed.weight))
        kl = None
        if self.recipe.beta:
            with torch.no_grad():
                reference = self._reference_logp(inputs)
            kl = kl_estimate(logp, reference)
        if packed.weight.any():
            self.collected.add_tokens(entropy, None if kl is None else kl.detach())
        return policy_loss(logp, self._corrected(advantage, logp, packed), weight, kl, self.recipe.beta)

    def _corrected(self, advantage: torch.Tensor, logp: torch.Tensor, packed: PackedGroup) -> torch.Tensor:
        """Returns the advantage of each token, times its truncated importance weight if another engine sampled it."""
        import torch

        if self.recipe.vllm is None or packed.sampled_logp is None:
            return advantage
        ratio = importance_weights(logp, torch.from_numpy(packed.sampled_logp).to(logp.device))
        cap = self.recipe.vllm.importance_cap
        self.collected.add_importance(ratio, cap)
        return advantage if cap is None else advantage * ratio.clamp(max=cap)

    def metrics(self) -> dict[str, float]:
        """Ends the step and returns its metrics over all processes."""
        return reduce_metrics(distributed.all_gather(self.collected.pop()))

    def _reference_logp(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Returns the log-probabilities (N,) of the same tokens under the initial policy.

        It runs in the precision of the policy, so that rounding does not count as a divergence.
        """
        with autocast(self.device, autocasts(self.recipe)):
            if self.reference is not None:
                return token_logprobs(self.reference, inputs, self.recipe.temperature).logp
            with self.model.disable_adapter():
                return token_logprobs(self.model, inputs, self.recipe.temperature).logp
