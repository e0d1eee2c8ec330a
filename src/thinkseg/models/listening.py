"""An engine that can be listened to: what `thinkseg.models.generation.Engine` writes is told while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from thinkseg.models.generation import Drawn, Engine, Reading

if TYPE_CHECKING:
    import torch

Hear = Callable[[int, str], None]
"""Told, for each token, (number of the continuation, text that follows what was told before, perhaps none of it yet).
It may raise, which ends the writing."""

UNFINISHED = "\ufffd"
"""What the tokens of half a character read as."""


class ListeningEngine(Engine):
    """Writes as any engine does; while `hear` is set, one continuation after another, each told as it grows."""

    hear: Hear | None = None

    def write(
        self,
        reading: Reading,
        rows: Sequence[int],
        max_new_tokens: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[Drawn]:
        """See `Engine.write`. Continuations are numbered as in `rows`."""
        if self.hear is None:
            return super().write(reading, rows, max_new_tokens, temperature, generator)
        drawn = []
        for self._number, row in enumerate(rows):
            self._tokens: list[int] = []
            self._told = ""
            drawn += super().write(reading, [row], max_new_tokens, temperature, generator)
        return drawn

    def _pick(self, logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
        tokens = super()._pick(logits, temperature, generator)
        if self.hear is not None:
            self._tokens += tokens.tolist()
            # All of it is decoded anew: the letters of a token can depend on the one before.
            text = self.encoder.text(self._tokens)
            whole = self._told if text.endswith(UNFINISHED) else text
            self.hear(self._number, whole[len(self._told) :])
            self._told = whole
        return tokens
