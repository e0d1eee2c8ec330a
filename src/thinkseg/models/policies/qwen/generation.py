"""Prefill and decode of a Qwen-VL: puts a prompt into the KV cache once and decodes any number of completions.

The rollouts of a group share their prompt, and the second turn of a dialogue starts with all of the first.
`Engine.prefill` fills the cache for dialogues, or for the tokens that extend cached ones. `Engine.decode` continues
cached dialogues. The tokens equal those of `generate` on each dialogue alone, up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import EncodedDialogue, Encoder, spans
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache, without_adapter
from thinkseg.models.policies.sampling import SamplingParams

if TYPE_CHECKING:
    import torch

    from thinkseg.models.policies.qwen.shared_kv_cache import BranchLayout


@dataclass(frozen=True, slots=True, eq=False)
class PrefixCache:
    """Keys and values of P dialogues, padded on the left to L tokens.

    cache: a transformers cache. attention_mask: bool (P, L), False at padding. next_position_ids: int64 (P,), rotary
    position of the next token. logits: float32 (P, vocabulary) of the next token.
    """

    cache: Any
    attention_mask: torch.Tensor
    next_position_ids: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation. token_ids: with the end token, unless `max_new_tokens` truncated it."""

    token_ids: tuple[int, ...]
    truncated: bool

    @property
    def content_ids(self) -> tuple[int, ...]:
        """The tokens without the end token."""
        return self.token_ids if self.truncated else self.token_ids[:-1]


class Engine:
    """Prefill and decode with one model, under the autocast and grad mode of the caller.

    model: a Qwen-VL, with or without a LoRA adapter. vision: features of images (default: a new cache).
    ends: tokens that end a reply (default: the end of the turn).
    device: where the model computes (default: where its weights are).
    """

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        vision: ImageFeatureCache | None = None,
        ends: Collection[int] | None = None,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.vision = vision or ImageFeatureCache(model, device)
        self.ends = frozenset({encoder.end_id} if ends is None else ends)
        self._device = device
        self._config = without_adapter(model).model.language_model.config
        self._suppressed = [token for token in encoder.suppressed_ids() if token not in self.ends]

    def prefill(
        self,
        dialogues: Sequence[EncodedDialogue],
        prefix: PrefixCache | None = None,
        rows: Sequence[int] = (),
        starts: Sequence[int] = (),
    ) -> PrefixCache:
        """Encodes dialogues; with `prefix`, only the tokens that follow the cached ones.

        rows: the row of `prefix` that each dialogue extends. starts: how many of its tokens are cached, fewer than all.
        """
        import torch

        device = self._device or self.model.device
        starts = list(starts) or [0] * len(dialogues)
        padded = _padded(dialogues, starts, self.encoder.pad_id)
        input_ids, mask, position_ids = (torch.from_numpy(array).to(device) for array in padded)
        cache = None
        if prefix is not None:
            at = torch.tensor(rows, device=device)
            cache, mask = _select_rows(prefix.cache, at), torch.cat([prefix.attention_mask[at], mask], 1)
        output = self.model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=position_ids,
            mm_encoder_outputs=self._features(dialogues, starts),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        next_position_ids = position_ids[:, :, -1].amax(0) + 1
        return PrefixCache(output.past_key_values, mask, next_position_ids, output.logits[:, -1].float())

    def decode(
        self, prefix: PrefixCache, rows: Sequence[int], sampling: SamplingParams, seeds: Sequence[int] = ()
    ) -> list[Completion]:
        """Decodes one completion per entry of `rows`, which are rows of `prefix`.

        seeds: one per completion, see `uniform_numbers`; needed at a temperature above 0.
        """
        from thinkseg.models.policies.qwen.shared_kv_cache import attending

        with attending(self._config):
            batch = _start(prefix, rows, sampling, seeds)
            while True:
                tokens = self._pick(batch.logits, sampling.temperature, batch.next_random())
                batch.append(tokens.tolist(), self.ends, sampling.max_new_tokens)
                if batch.all_ended:
                    return [Completion(tuple(ids), ids[-1] not in self.ends) for ids in batch.token_ids]
                self._forward(batch, batch.drop_ended(tokens))

    def _forward(self, batch: _Batch, tokens: torch.Tensor) -> None:
        """Feeds one token per row and takes the logits of the next."""
        batch.logits = self.model(
            input_ids=tokens[:, None],
            position_ids=batch.position_ids.expand(3, -1)[..., None],
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        batch.position_ids = batch.position_ids + 1

    def _pick(self, logits: torch.Tensor, temperature: float, random: torch.Tensor | None) -> torch.Tensor:
        """The next token of each row, int64 (rows,); control tokens other than the end are suppressed.

        random: float32 (rows,) in [0, 1); None takes the most likely token.
        """
        import torch

        scores = logits.float()
        scores[:, self._suppressed] = -torch.inf
        if random is None:
            return scores.argmax(-1)
        # Inverse transform sampling: one number decides a row's token, whatever other rows there are. In float64 the
        # threshold stays below the total, so that it never falls on a token of probability 0.
        cumulative = (scores / temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
        threshold = random[:, None].double() * cumulative[:, -1:]
        return torch.searchsorted(cumulative, threshold, right=True)[:, 0]

    def _features(self, dialogues: Sequence[EncodedDialogue], starts: Sequence[int]) -> dict[str, Any] | None:
        """Features of the images from `starts` on."""
        images: list[torch.Tensor] = []
        grids: list[torch.Tensor] = []
        for dialogue, start in zip(dialogues, starts, strict=True):
            first = len(spans(dialogue.input_ids[:start] == self.encoder.image_pad_id))
            images += dialogue.images[first:]
            grids += list(dialogue.image_grid_thw[first:])
        return {"image": self.vision.features(images, grids)} if images else None


@dataclass(slots=True, eq=False)
class _Batch:
    """Completions while they are decoded. Row i of the tensors belongs to completion `active[i]`.

    random: float32 (rows, max_new_tokens); None at temperature 0.
    """

    cache: Any
    layout: BranchLayout
    position_ids: torch.Tensor
    logits: torch.Tensor
    random: torch.Tensor | None
    active: list[int]
    token_ids: list[list[int]]
    ended: set[int]
    step: int = 0

    @property
    def all_ended(self) -> bool:
        return len(self.ended) == len(self.token_ids)

    def next_random(self) -> torch.Tensor | None:
        """The random number of each row at this step, float32 (rows,)."""
        self.step += 1
        return None if self.random is None else self.random[:, self.step - 1]

    def append(self, tokens: Sequence[int], ends: Collection[int], max_new_tokens: int) -> None:
        """Adds one token per row to the completions that have not ended."""
        for number, token in zip(self.active, tokens, strict=True):
            if number not in self.ended:
                self.token_ids[number].append(token)
                if token in ends or self.step == max_new_tokens:
                    self.ended.add(number)

    def drop_ended(self, tokens: torch.Tensor) -> torch.Tensor:
        """Removes the rows of ended completions once they are half of all; returns the tokens of the other rows."""
        import torch

        # Not one at a time: dropping rows copies the cache of the others.
        if 2 * sum(number in self.ended for number in self.active) < len(self.active):
            return tokens
        rows = [row for row, number in enumerate(self.active) if number not in self.ended]
        kept = torch.tensor(rows, device=tokens.device)
        self.active = [self.active[row] for row in rows]
        self.cache.batch_select_indices(kept)
        self.layout.keep(kept)
        self.position_ids = self.position_ids[kept]
        self.random = None if self.random is None else self.random[kept]
        return tokens[kept]


def _start(prefix: PrefixCache, rows: Sequence[int], sampling: SamplingParams, seeds: Sequence[int]) -> _Batch:
    """A batch without tokens, one completion per entry of `rows`."""
    import torch

    from thinkseg.models.policies.qwen.shared_kv_cache import shared_cache

    at = torch.tensor(rows, device=prefix.logits.device)
    cache, layout = shared_cache(prefix.cache, prefix.attention_mask, rows)
    random = None
    if sampling.temperature > 0:
        random = torch.from_numpy(uniform_numbers(seeds, sampling.max_new_tokens)).to(at.device)
    position_ids, logits = prefix.next_position_ids[at], prefix.logits[at]
    return _Batch(cache, layout, position_ids, logits, random, list(range(len(rows))), [[] for _ in rows], set())


def uniform_numbers(seeds: Sequence[int], count: int) -> np.ndarray:
    """Random numbers in [0, 1), float32 (seeds, count); a row depends on its seed only."""
    return np.stack([np.random.default_rng(seed).random(count, np.float32) for seed in seeds])


def _padded(
    dialogues: Sequence[EncodedDialogue], starts: Sequence[int], pad_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens from `starts` on, padded on the left: ids (P, L), attention mask bool (P, L), position ids (3, P, L)."""
    lengths = [len(dialogue.input_ids) - start for dialogue, start in zip(dialogues, starts, strict=True)]
    longest = max(lengths)
    input_ids = np.full((len(dialogues), longest), pad_id)
    mask = np.zeros((len(dialogues), longest), bool)
    position_ids = np.zeros((3, len(dialogues), longest), np.int64)
    for row, (dialogue, start, length) in enumerate(zip(dialogues, starts, lengths, strict=True)):
        input_ids[row, longest - length :] = dialogue.input_ids[start:]
        mask[row, longest - length :] = True
        position_ids[:, row, longest - length :] = dialogue.position_ids[:, start:]
    return input_ids, mask, position_ids


def _select_rows(cache: Any, rows: torch.Tensor) -> Any:
    """A copy of some rows of a cache, which may repeat."""
    picked = copy.copy(cache)
    picked.layers = [copy.copy(layer) for layer in cache.layers]
    picked.batch_select_indices(rows)
    return picked
