"""Rollouts sampled by vLLM servers, whose weights are those of the policy in training.

A group is one request of `num_generations` replies. Its second turns go to the same server, which has their prefix in
its cache. Requests have no seeds: vLLM's results depend on what else it computes, and its CPU engine fails with seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.prefix_sharing import equal_dialogues, share_turns
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.models.policies.vllm import Generated, SampledTokens, TokenRequest
from thinkseg.training import distributed
from thinkseg.training.grpo.weight_sync import WeightSync
from thinkseg.types import Dialogue, Reply, Turn, View

BANNED = -100.0
"""Lowest bias of a token that vLLM accepts. Such a token is not sampled."""

CONTEXT_TOKENS = 20
"""Tokens of both prompts in a message, from shortly before they differ."""


class VllmRollouts:
    """A `training.grpo.rollouts.RolloutPolicy` over the servers of `weights`, for any number of threads.

    `sync` comes first.
    """

    name = "policy in training"

    def __init__(self, weights: WeightSync, encoder: Encoder, view: View, sampling: SamplingParams) -> None:
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = encoder.size_multiple
        self._weights = weights
        self._pool = weights.pool
        self._encoder = encoder
        self._limit = sampling.max_new_tokens
        self._sampling = {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
            "stop_token_ids": [encoder.end_id],
            "logit_bias": {str(token): BANNED for token in encoder.suppressed_ids()},
        }
        self._turns: list[Turn] = []

    def sync(self, model: Any, step: int) -> None:
        """Returns once the servers have the weights of the model."""
        self._turns.clear()
        self._weights.update(model, step)

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue; equal dialogues are one request. seeds: not used.

        Raises ModelError if a server cannot be used, or encodes a prompt in another way.
        """
        dialogues = share_turns(dialogues, self._turns)
        groups = equal_dialogues(dialogues, range(len(dialogues)))
        prompts = [self._encoder.token_ids(dialogues[group[0]]) for group in groups]
        self._check_lengths(prompts)
        generated = self._pool.generate(
            [
                (self._number(dialogues[group[0]]), self._request(dialogues[group[0]], prompt, len(group)))
                for group, prompt in zip(groups, prompts, strict=True)
            ]
        )
        replies: dict[int, Reply] = {}
        for group, prompt, one in zip(groups, prompts, generated, strict=True):
            self._check_prompt(prompt, one)
            replies |= {i: self._reply(choice, len(prompt)) for i, choice in zip(group, one.choices, strict=True)}
        return [replies[i] for i in range(len(dialogues))]

    def clear(self) -> None:
        """Does nothing: other groups still need their first turns, until the next `sync`."""

    def close(self) -> None:
        """Closes the connections, and removes the weights that were written."""
        self._weights.close()

    def _number(self, dialogue: Dialogue) -> int:
        """The number of a dialogue's first turn, which decides its server. Processes start with different servers."""
        first = dialogue[0]
        assert isinstance(first, Turn)
        if all(turn is not first for turn in self._turns):
            self._turns.append(first)
        return distributed.rank() + next(i for i, turn in enumerate(self._turns) if turn is first)

    def _request(self, dialogue: Dialogue, prompt: np.ndarray, count: int) -> TokenRequest:
        is_pad = prompt == self._encoder.image_pad_id
        # The server repeats the placeholder of an image once per visual token.
        ids = prompt[~(is_pad & np.concatenate([[False], is_pad[:-1]]))]
        images = [image for part in dialogue if isinstance(part, Turn) for image in part.images]
        return TokenRequest(ids.tolist(), images, {**self._sampling, "n": count})

    def _reply(self, sampled: SampledTokens, num_prompt_tokens: int) -> Reply:
        ids, truncated = sampled.token_ids, sampled.finish_reason == "length"
        if not truncated and ids[-1] != self._encoder.end_id:
            token = self._encoder.tokenizer.decode(ids[-1:])
            raise ModelError(f"vLLM ended a reply with {token!r}; start the servers with --generation-config vllm")
        content = ids if truncated else ids[:-1]
        text = self._encoder.generated_text(ids, content, sampled.token_logprobs)
        return Reply(text, len(content), truncated, num_prompt_tokens)

    def _check_lengths(self, prompts: Sequence[np.ndarray]) -> None:
        """Raises ModelError if a server would truncate replies before the limit."""
        longest = max(map(len, prompts)) + self._limit
        if longest > self._pool.max_model_len:
            raise ModelError(
                f"servers: a prompt and max_new_tokens have {longest} tokens, --max-model-len is "
                f"{self._pool.max_model_len}; start the servers with {longest} or more"
            )

    def _check_prompt(self, ours: np.ndarray, generated: Generated) -> None:
        """Raises ModelError unless the server has read the tokens that are trained on."""
        theirs = np.asarray(generated.prompt_token_ids, np.int64)
        if np.array_equal(ours, theirs):
            return
        shared = min(len(ours), len(theirs))
        differ = np.flatnonzero(ours[:shared] != theirs[:shared])
        at = int(differ[0]) if len(differ) else shared
        around = slice(max(0, at - CONTEXT_TOKENS // 2), at + CONTEXT_TOKENS // 2)
        texts = [self._encoder.tokenizer.decode(ids[around]) for ids in (ours, theirs)]
        raise ModelError(
            f"vLLM reads another prompt: it differs at token {at}: {texts[0]!r} here, {texts[1]!r} there ({len(ours)} "
            f"and {len(theirs)} tokens); start the servers with the recipe's model and its preprocessor_config.json"
        )
