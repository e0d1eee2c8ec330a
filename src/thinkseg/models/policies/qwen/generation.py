"""Prefill and decode of a Qwen-VL: puts a prompt into the KV cache once and decodes any number of completions.

The rollouts of a group share their prompt, and the second turn of a dialogue starts with all of the first.
`Engine.prefill` fills the cache for dialogues, or for the tokens that extend cached ones. `Engine.decode` continues
cached dialogues. The tokens equal those of `generate` on each dialogue alone, up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import EncodedDialogue, Encoder, spans
from thinkseg.models.policies.qwen.layer_progress import layer_progress
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import ProgressCallback

if TYPE_CHECKING:
    import torch

OnToken = Callable[[int, int], None]
"""Called with the number of a completion, in the order of `rows`, and its next token, also if that ends it."""


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
        self._suppressed = [token for token in encoder.suppressed_ids() if token not in self.ends]

    def prefill(
        self,
        dialogues: Sequence[EncodedDialogue],
        prefix: PrefixCache | None = None,
        rows: Sequence[int] = (),
        starts: Sequence[int] = (),
        progress: ProgressCallback | None = None,
    ) -> PrefixCache:
        """Encodes dialogues; with `prefix`, only the tokens that follow the cached ones.

        rows: the row of `prefix` that each dialogue extends. starts: how many of its tokens are cached, fewer than all.
        progress: see `layer_progress`.
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
        with layer_progress(self.model, progress):
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
        self,
        prefix: PrefixCache,
        rows: Sequence[int],
        sampling: SamplingParams,
        seeds: Sequence[int] = (),
        on_token: OnToken | None = None,
    ) -> list[Completion]:
        """Decodes one completion per entry of `rows`, which are rows of `prefix`.

        seeds: one per completion, see `uniform_numbers`; needed at a temperature above 0. on_token: called as soon as a
        token is known.
        """
        batch = _Batch(self, prefix, rows, sampling, seeds, on_token)
        while True:
            tokens = self._pick(batch.logits, sampling.temperature, batch.next_random())
            tokens = batch.append(tokens)
            if not len(tokens):
                return [Completion(tuple(ids), ids[-1] not in self.ends) for ids in batch.token_ids]
            batch.feed(tokens)

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


class _Batch:
    """Completions while they are decoded. Row i of the tensors belongs to completion `active[i]`.

    logits: of the next tokens, (rows, vocabulary).
    """

    def __init__(
        self,
        engine: Engine,
        prefix: PrefixCache,
        rows: Sequence[int],
        sampling: SamplingParams,
        seeds: Sequence[int],
        on_token: OnToken | None,
    ) -> None:
        import torch

        from thinkseg.models.policies.qwen.shared_kv_cache import SharedKVCache
        from thinkseg.models.policies.qwen.token_step import TokenStep

        at = torch.tensor(rows, device=prefix.logits.device)
        self.logits = prefix.logits[at]
        self.token_ids: list[list[int]] = [[] for _ in rows]
        self._active = list(range(len(rows)))
        self._on_token = on_token
        self._ends, self._limit = engine.ends, sampling.max_new_tokens
        self._positions = prefix.next_position_ids[at]
        self._cache = SharedKVCache(prefix.cache, prefix.attention_mask, rows)
        self._model = TokenStep(engine.model, int(self._positions.max()) + self._limit)
        self._random = None
        if sampling.temperature > 0:
            self._random = torch.from_numpy(uniform_numbers(seeds, self._limit)).to(at.device)

    def next_random(self) -> torch.Tensor | None:
        """The random number of each row at this step, float32 (rows,); None at temperature 0."""
        return None if self._random is None else self._random[:, len(self.token_ids[self._active[0]])]

    def append(self, tokens: torch.Tensor) -> torch.Tensor:
        """Adds one token per row. Removes the rows that end, and returns the tokens of the others."""
        live = []
        for row, (number, token) in enumerate(zip(self._active, tokens.tolist(), strict=True)):
            self.token_ids[number].append(token)
            if self._on_token is not None:
                self._on_token(number, token)
            if token not in self._ends and len(self.token_ids[number]) < self._limit:
                live.append(row)
        if len(live) == len(self._active):
            return tokens
        rows = _compacted(live)
        self._keep(rows)
        return tokens[rows]

    def _keep(self, rows: list[int]) -> None:
        self._active = [self._active[row] for row in rows]
        self._positions = self._positions[rows]
        if self._random is not None:
            self._random = self._random[rows]
        if rows:
            self._cache.keep(rows)

    def feed(self, tokens: torch.Tensor) -> None:
        """Feeds one token per row and takes the logits of the next."""
        self.logits = self._model.logits(tokens, self._positions, self._cache)
        self._positions = self._positions + 1


def _compacted(live: Sequence[int]) -> list[int]:
    """Rows in an order that moves few of them: each stays in its place, and the last ones fill the gaps."""
    gaps = sorted(set(range(len(live))) - set(live))
    last = [row for row in live if row >= len(live)]
    moved = dict(zip(gaps, last, strict=True))
    return [moved.get(row, row) for row in range(len(live))]


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
