"""Replies to a batch of dialogues that share prefixes.

Equal dialogues are prefilled once and decoded several times, as the rollouts of a group need it. A second turn extends
the cached first turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from thinkseg.models.policies.qwen.encoder import EncodedDialogue, GeneratedText
from thinkseg.models.policies.qwen.generation import Engine, PrefixCache
from thinkseg.models.policies.qwen.live_texts import LiveTexts
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Dialogue, ProgressCallback, Reply, ReplyListener, Turn


@dataclass(frozen=True, slots=True, eq=False)
class _CachedTurn:
    """A first turn in the KV cache: its row in `prefix` and its length in tokens."""

    turn: Turn
    prefix: PrefixCache
    row: int
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Dialogues to decode together: their indices in the batch, and the row of `prefix` that each continues."""

    indices: list[int]
    prefix: PrefixCache
    rows: list[int]


class ChatGenerator:
    """Replies with one engine. First turns stay cached until the next batch has no dialogue that continues them."""

    def __init__(self, engine: Engine, sampling: SamplingParams) -> None:
        self.engine = engine
        self.sampling = sampling
        self._cached: dict[int, _CachedTurn] = {}  # by the identity of the turn

    def clear(self) -> None:
        """Frees the KV cache of earlier turns."""
        self._cached.clear()

    def reply(
        self, dialogues: Sequence[Dialogue], seeds: Sequence[int], listener: ReplyListener | None = None
    ) -> list[Reply]:
        """Answers the last turn of each dialogue; see `thinkseg.types.StreamingPolicy`.

        Raises RuntimeError if memory is exhausted.
        """
        seeds = self.sampling.seeds(seeds)
        dialogues = share_turns(dialogues, [cached.turn for cached in self._cached.values()])
        continued = {id(dialogue[0]) for dialogue in dialogues if len(dialogue) > 1}
        self._cached = {turn: cached for turn, cached in self._cached.items() if turn in continued}
        known = [i for i, dialogue in enumerate(dialogues) if len(dialogue) > 1 and id(dialogue[0]) in self._cached]
        new = sorted(set(range(len(dialogues))) - set(known))
        progress = listener.waiting if listener else None
        replies: dict[int, Reply] = {}
        for part in chain(self._extend(dialogues, known, progress), self._prefill(dialogues, new, progress)):
            replies |= self._decode(part, seeds, listener)
        return [replies[i] for i in range(len(dialogues))]

    def _decode(self, part: _Part, seeds: Sequence[int], listener: ReplyListener | None) -> dict[int, Reply]:
        """The replies of a part, by index in the batch."""
        on_token = LiveTexts(self.engine.encoder, part.indices, listener).add if listener else None
        own_seeds = [seeds[i] for i in part.indices]
        completions = self.engine.decode(part.prefix, part.rows, self.sampling, own_seeds, on_token)
        prompt_tokens = part.prefix.attention_mask.sum(1).tolist()
        replies = {}
        for i, row, completion in zip(part.indices, part.rows, completions, strict=True):
            text = self.engine.encoder.generated_text(completion.token_ids, completion.content_ids)
            replies[i] = Reply(text, len(completion.content_ids), completion.truncated, prompt_tokens[row])
        return replies

    def _prefill(
        self, dialogues: Sequence[Dialogue], indices: Sequence[int], progress: ProgressCallback | None
    ) -> Iterator[_Part]:
        """Prefills the dialogues at `indices`, equal ones once, and caches the first turns."""
        groups = equal_dialogues(dialogues, indices)
        encoded = self.engine.encoder.encode_group([dialogues[group[0]] for group in groups])
        for part in self._parts(encoded, [len(group) for group in groups]):
            prefix = self.engine.prefill([encoded[g] for g in part], progress=progress)
            for row, g in enumerate(part):
                turn, *rest = dialogues[groups[g][0]]
                if not rest and isinstance(turn, Turn):
                    self._cached[id(turn)] = _CachedTurn(turn, prefix, row, len(encoded[g].input_ids))
            rows = [row for row, g in enumerate(part) for _ in groups[g]]
            yield _Part([i for g in part for i in groups[g]], prefix, rows)

    def _extend(
        self, dialogues: Sequence[Dialogue], indices: Sequence[int], progress: ProgressCallback | None
    ) -> Iterator[_Part]:
        """Prefills what follows the cached first turns of the dialogues at `indices`."""
        by_prefix: dict[int, list[int]] = {}
        for i in indices:
            by_prefix.setdefault(id(self._cached[id(dialogues[i][0])].prefix), []).append(i)
        for group in by_prefix.values():
            encoded = self.engine.encoder.encode_group([dialogues[i] for i in group])
            for part in self._parts(encoded, [1] * len(group)):
                cached = [self._cached[id(dialogues[group[g]][0])] for g in part]
                rows, starts = [one.row for one in cached], [one.length for one in cached]
                prefix = self.engine.prefill([encoded[g] for g in part], cached[0].prefix, rows, starts, progress)
                yield _Part([group[g] for g in part], prefix, list(range(len(part))))

    def _parts(self, encoded: Sequence[EncodedDialogue], copies: Sequence[int]) -> Iterator[list[int]]:
        """Indices of dialogues in parts that fit into the KV cache, at least one dialogue per part."""
        limit = self.sampling.max_cache_tokens or math.inf
        part: list[int] = []
        for i in range(len(encoded)):
            if part and self._cache_tokens(encoded, copies, [*part, i]) > limit:
                yield part
                part = []
            part.append(i)
        if part:
            yield part

    def _cache_tokens(self, encoded: Sequence[EncodedDialogue], copies: Sequence[int], part: Sequence[int]) -> int:
        """Tokens in the KV cache while a part is decoded: each prompt once, padded to the longest, and all replies."""
        longest = max(len(encoded[i].input_ids) for i in part)
        return longest * len(part) + self.sampling.max_new_tokens * sum(copies[i] for i in part)


def share_turns(dialogues: Sequence[Dialogue], known: Sequence[Turn] = ()) -> list[Dialogue]:
    """The same dialogues with equal first turns made identical: to one of `known`, or to the first that occurs."""
    turns: dict[tuple[str, ...], list[Turn]] = {}
    for turn in known:
        turns.setdefault(_texts(turn), []).append(turn)
    found: list[Dialogue] = []
    for dialogue in dialogues:
        first = dialogue[0]
        assert isinstance(first, Turn)
        candidates = turns.setdefault(_texts(first), [])
        same = next((turn for turn in candidates if turn is first or _same_images(turn, first)), None)
        if same is None:
            candidates.append(first)
        found.append(dialogue if same is None else (same, *dialogue[1:]))
    return found


def equal_dialogues(dialogues: Sequence[Dialogue], indices: Iterable[int]) -> list[list[int]]:
    """Groups the `indices` of equal dialogues. dialogues: of `share_turns`."""
    equal: dict[tuple[object, ...], list[int]] = {}
    for i in indices:
        equal.setdefault((id(dialogues[i][0]), *map(_key, dialogues[i][1:])), []).append(i)
    return list(equal.values())


def _texts(turn: Turn) -> tuple[str, ...]:
    """The texts of a turn, with a mark for each image."""
    return tuple(part if isinstance(part, str) else "\0" for part in turn.content)


def _same_images(one: Turn, other: Turn) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))


def _key(part: Turn | str) -> object:
    """Equal for equal later parts of a dialogue: a reply by its tokens or text, a turn by identity."""
    if isinstance(part, GeneratedText):
        return part.token_ids
    return part if isinstance(part, str) else id(part)
