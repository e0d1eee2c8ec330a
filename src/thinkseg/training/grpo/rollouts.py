"""Rollouts for GRPO: groups of outcomes of the same prompt, with the token ids that were sampled.

Chains are those of inference: `run_chains` drives them, with a policy that samples in this process (`LocalRollouts`)
or on servers (`training.grpo.vllm_rollouts`). A reply keeps its token ids
(`models.policies.qwen.encoder.GeneratedText`), so that training uses exactly what was sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from thinkseg.models.policies.qwen.checkpoint import autocast
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, share_turns
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache
from thinkseg.models.policies.sampling import SamplingParams, mixed_seed
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.types import Chain, Dialogue, Outcome, Policy, Reply, View


class RolloutPolicy(Policy, Protocol):
    """The policy in training, as what samples its rollouts. The text of each reply is a `GeneratedText`."""

    def sync(self, model: Any, step: int) -> None:
        """Takes the weights at the start of a step: all replies until the next call are sampled from these."""

    def close(self) -> None:
        """Ends the use of the policy."""


def roll_out(
    prompts: Sequence[Prompt],
    chain: Callable[..., Chain],
    policy: Policy,
    view: View,
    num_generations: int,
    seeds: Sequence[int],
) -> list[list[Outcome]]:
    """Samples a group of `num_generations` outcomes per prompt.

    chain: called with a sample, a view and the `indices` of the frames to show; see `thinkseg.chains.takes_indices`.
    seeds: one integer per prompt. With `LocalRollouts`, a rollout depends on its prompt, that seed and its index in the
        group only.
    The dialogues of a group share their first turn (the same object).
    """
    chains = [
        chain(prompt.sample, view, indices=prompt.frame_indices) for prompt in prompts for _ in range(num_generations)
    ]
    chain_seeds = [mixed_seed(seed, copy) for seed in seeds for copy in range(num_generations)]
    outcomes = run_chains(chains, policy, seeds=chain_seeds)
    dialogues = share_turns([outcome.dialogue for outcome in outcomes])
    outcomes = [replace(one, dialogue=dialogue) for one, dialogue in zip(outcomes, dialogues, strict=True)]
    return [outcomes[i : i + num_generations] for i in range(0, len(outcomes), num_generations)]


class LocalRollouts:
    """A `RolloutPolicy` that samples from the model in training itself, in this process. `sync` comes first.

    vision: features of images, which the update may use too. bf16: whether to compute in bf16.
    """

    name = "policy in training"

    def __init__(
        self, encoder: Encoder, view: View, sampling: SamplingParams, vision: ImageFeatureCache, bf16: bool = False
    ) -> None:
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = encoder.size_multiple
        self._encoder, self._sampling, self._vision, self._bf16 = encoder, sampling, vision, bf16

    def sync(self, model: Any, step: int) -> None:
        """Takes the model as it is."""
        self._model = model
        self._generator = ChatGenerator(Engine(model, self._encoder, self._vision), self._sampling)

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue, without gradients or dropout."""
        import torch

        seeds = range(len(dialogues)) if seeds is None else seeds
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad(), autocast(str(self._model.device), self._bf16):
                return self._generator.reply(dialogues, seeds)
        finally:
            self._model.train(training)

    def clear(self) -> None:
        """Frees the KV cache."""
        self._generator.clear()

    def close(self) -> None:
        """Does nothing."""
