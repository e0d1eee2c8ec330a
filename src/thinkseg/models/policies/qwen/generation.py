"""Reading a dialogue once and going on from it many times: encoded dialogues in, sampled tokens out.

A group of rollouts has its prompt in common, and the second turn of a dialogue has all of the first. Here what was read
stays in the model's cache: `Engine.read` reads dialogues, or what has been added to dialogues it has read before, and
`Engine.write` continues any of them any number of times. Tokens are those of `generate` on the dialogues one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import EncodedDialogue, Encoder, spans
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache, without_adapter

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a model remembers of P dialogues, padded on the left to L places.

    cache: its keys and values. seen: bool (P, L), False where there is padding. next_position: int64 (P,), rotary
    position of the token that comes next; logits: float32 (P, vocabulary), what it may be.
    """

    cache: Any
    seen: torch.Tensor
    next_position: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation. tokens: with the one that ends it, unless it is cut short by the limit."""

    tokens: tuple[int, ...]
    truncated: bool

    @property
    def said(self) -> tuple[int, ...]:
        """The tokens without the one that ends them."""
        return self.tokens if self.truncated else self.tokens[:-1]


class Engine:
    """Reads and writes with one model. Runs under whatever autocast and grad mode its caller has set.

    model: a Qwen-VL, as it is or under a LoRA adapter. vision: where the features of images come from.
    ends: tokens that end a reply; the end of a turn alone unless given.
    """

    def __init__(
        self, model: Any, encoder: Encoder, vision: ImageFeatureCache | None = None, ends: Collection[int] | None = None
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.vision = vision or ImageFeatureCache(model)
        self.ends = frozenset({encoder.end_id} if ends is None else ends)
        self._config = without_adapter(model).model.language_model.config
        self._suppressed = [token for token in encoder.suppressed_ids() if token not in self.ends]

    def read(
        self,
        dialogues: Sequence[EncodedDialogue],
        before: Reading | None = None,
        rows: Sequence[int] = (),
        starts: Sequence[int] = (),
    ) -> Reading:
        """Reads dialogues; if `before` is given, only what follows what was read then.

        rows: for each dialogue, its place in `before`; starts: how many of its tokens were read there, fewer than all.
        """
        import torch

        device = self.model.device
        starts = list(starts) or [0] * len(dialogues)
        tails = [dialogue.ids[start:] for dialogue, start in zip(dialogues, starts, strict=True)]
        longest = max(map(len, tails))
        ids = np.full((len(tails), longest), self.encoder.pad_id)
        seen = np.zeros((len(tails), longest), bool)
        positions = np.zeros((3, len(tails), longest), np.int64)
        for row, (dialogue, start, tail) in enumerate(zip(dialogues, starts, tails, strict=True)):
            ids[row, longest - len(tail) :] = tail
            seen[row, longest - len(tail) :] = True
            positions[:, row, longest - len(tail) :] = dialogue.positions[:, start:]
        mask = torch.from_numpy(seen).to(device)
        cache = None
        if before is not None:
            at = torch.tensor(rows, device=device)
            cache, mask = _rows_of(before.cache, at), torch.cat([before.seen[at], mask], 1)
        output = self.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask.long(),
            position_ids=torch.from_numpy(positions).to(device),
            mm_encoder_outputs=self._features(dialogues, starts),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        ends = torch.from_numpy(positions[:, :, -1].max(0) + 1).to(device)
        return Reading(output.past_key_values, mask, ends, output.logits[:, -1].float())

    def write(
        self,
        reading: Reading,
        rows: Sequence[int],
        max_new_tokens: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[Completion]:
        """Continues what was read, once for each entry of `rows`, its places in `reading`.

        temperature: 0 takes the likeliest token each time. generator: on the model's device.
        """
        from thinkseg.models.policies.qwen.shared_kv_cache import attending

        with attending(self._config):
            return self._written(reading, rows, max_new_tokens, temperature, generator)

    def _written(
        self,
        reading: Reading,
        rows: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[Completion]:
        import torch

        from thinkseg.models.policies.qwen.shared_kv_cache import shared_cache

        at = torch.tensor(rows, device=self.model.device)
        cache, places = shared_cache(reading.cache, reading.seen, rows)
        position, logits = reading.next_position[at], reading.logits[at]
        written: list[list[int]] = [[] for _ in rows]
        going = list(range(len(rows)))  # which continuation each row of the batch is
        ended = set()
        while True:
            tokens = self._pick(logits, temperature, generator)
            for number, token in zip(going, tokens.tolist(), strict=True):
                if number not in ended:
                    written[number].append(token)
                    if token in self.ends or len(written[number]) == max_new_tokens:
                        ended.add(number)
            if len(ended) == len(rows):
                break
            # Rows that have ended are taken out once they are half of all: it copies what the others have written.
            if 2 * sum(number in ended for number in going) >= len(going):
                kept = torch.tensor([i for i, number in enumerate(going) if number not in ended], device=at.device)
                going = [going[i] for i in kept.tolist()]
                cache.batch_select_indices(kept)
                places.keep(kept)
                position, tokens = position[kept], tokens[kept]
            logits = self.model(
                input_ids=tokens[:, None],
                position_ids=position.expand(3, -1)[..., None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            position = position + 1
        return [Completion(tuple(ids), ids[-1] not in self.ends) for ids in written]

    def _pick(self, logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
        """The next token of each row, int64 (P,): never one that structures a dialogue, except for its end."""
        import torch

        scores = logits.float()
        scores[:, self._suppressed] = -torch.inf
        if temperature == 0:
            return scores.argmax(-1)
        return torch.multinomial((scores / temperature).softmax(-1), 1, generator=generator)[:, 0]

    def _features(self, dialogues: Sequence[EncodedDialogue], starts: Sequence[int]) -> dict[str, Any] | None:
        """Features of the images that stand behind `starts`."""
        images: list[torch.Tensor] = []
        grids: list[torch.Tensor] = []
        for dialogue, start in zip(dialogues, starts, strict=True):
            first = len(spans(dialogue.ids[:start] == self.encoder.image_pad_id))
            images += dialogue.images[first:]
            grids += list(dialogue.grids[first:])
        return {"image": self.vision.features(images, grids)} if images else None


def _rows_of(cache: Any, rows: torch.Tensor) -> Any:
    """Some rows of a cache, each as often as it is named, in tensors of their own."""
    picked = copy.copy(cache)
    picked.layers = [copy.copy(layer) for layer in cache.layers]
    picked.batch_select_indices(rows)
    return picked
