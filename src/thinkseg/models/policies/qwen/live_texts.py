"""Texts of replies while their tokens are decoded, passed on to a listener in complete characters."""

from __future__ import annotations

from collections.abc import Sequence

from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.types import ReplyListener


class LiveTexts:
    """The texts so far of completions. indices: of their dialogues, which the listener knows them by."""

    def __init__(self, encoder: Encoder, indices: Sequence[int], listener: ReplyListener) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = encoder.tokenizer.backend_tokenizer
        self._streams = [DecodeStream(skip_special_tokens=True) for _ in indices]
        self._texts = [encoder.template.opening] * len(indices)
        self._indices, self._listener = indices, listener

    def add(self, number: int, token_id: int) -> None:
        """Adds a token to completion `number`. Bytes of an incomplete character wait for those that follow."""
        self._texts[number] += self._streams[number].step(self._tokenizer, token_id) or ""
        self._listener.text(self._indices[number], self._texts[number])
