"""Rollouts for GRPO: groups of outcomes of the same prompt, with the token ids that were sampled.

Chains are those of inference: `run_chains` drives them, with a policy that samples in this process (`LocalRollouts`)
or on servers (`training.grpo.vllm_rollouts`). A reply keeps its token ids
(`models.policies.qwen.encoder.GeneratedText`), so that training uses exactly what was sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any, Protocol

from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, share_turns
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


def roll_out_each(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    sample: Callable[[Sequence[Prompt], Sequence[int]], list[list[Outcome]]],
) -> Iterator[tuple[int, list[Outcome]]]:
    """Samples each prompt in a thread of its own; yields each group with its index as soon as it is complete.

    sample: `roll_out` for some prompts and their seeds, with a policy that several threads may ask.
    """
    pool = ThreadPoolExecutor(len(prompts), "roll out")
    try:
        futures = {}
        for i, prompt in enumerate(prompts):
            prompt.sample.video.read(prompt.frame_indices)  # decoded here: two prompts may share a video
            futures[pool.submit(sample, [prompt], [seeds[i]])] = i
        for future in as_completed(futures):
            yield futures[future], future.result()[0]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error, `policy.close` ends the other groups


class LocalRollouts:
    """A `RolloutPolicy` that samples with an engine in this process, under the autocast and mode of the caller."""

    name = "policy in training"

    def __init__(self, engine: Engine, view: View, sampling: SamplingParams) -> None:
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = engine.encoder.size_multiple
        self._generator = ChatGenerator(engine, sampling)

    def sync(self, model: Any, step: int) -> None:
        """Samples from this model, whose weights are never copied."""
        self._generator.engine.model = model

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue, without gradients."""
        import torch

        with torch.no_grad():
            return self._generator.reply(dialogues, range(len(dialogues)) if seeds is None else seeds)

    def clear(self) -> None:
        """Frees the KV cache."""
        self._generator.clear()

    def close(self) -> None:
        """Does nothing."""
