"""Rollouts for GRPO: groups of outcomes of the same prompt, with the token ids that were sampled.

Chains and generation are those of inference: `run_chains` drives the chains, and `ChatGenerator` prefills the prompt of
a group once. A reply keeps its token ids (`models.policies.qwen.encoder.GeneratedText`), so that training uses exactly
what was sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, share_turns
from thinkseg.models.policies.sampling import SamplingParams, mixed_seed
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.types import Chain, Dialogue, Outcome, Reply, View


def roll_out(
    prompts: Sequence[Prompt],
    chain: Callable[..., Chain],
    engine: Engine,
    view: View,
    num_generations: int,
    sampling: SamplingParams,
    seeds: Sequence[int],
) -> list[list[Outcome]]:
    """Samples a group of `num_generations` outcomes per prompt. Runs the model as it is, without gradients.

    chain: called with a sample, a view and the `indices` of the frames to show; see `thinkseg.chains.takes_indices`.
    seeds: one integer per prompt. A rollout depends on its prompt, that seed and its index in the group only.
    The dialogues of a group share their first turn (the same object).
    """
    chains = [
        chain(prompt.sample, view, indices=prompt.frame_indices) for prompt in prompts for _ in range(num_generations)
    ]
    chain_seeds = [mixed_seed(seed, copy) for seed in seeds for copy in range(num_generations)]
    outcomes = run_chains(chains, _RolloutPolicy(engine, view, sampling), seeds=chain_seeds)
    dialogues = share_turns([outcome.dialogue for outcome in outcomes])
    outcomes = [replace(one, dialogue=dialogue) for one, dialogue in zip(outcomes, dialogues, strict=True)]
    return [outcomes[i : i + num_generations] for i in range(0, len(outcomes), num_generations)]


class _RolloutPolicy:
    """A `thinkseg.types.Policy` over the engine of the model in training, which keeps its image features."""

    name = "policy in training"

    def __init__(self, engine: Engine, view: View, sampling: SamplingParams) -> None:
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = engine.encoder.size_multiple
        self._generator = ChatGenerator(engine, sampling)

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue."""
        import torch

        with torch.no_grad():
            return self._generator.reply(dialogues, range(len(dialogues)) if seeds is None else seeds)

    def clear(self) -> None:
        """Frees the KV cache."""
        self._generator.clear()
