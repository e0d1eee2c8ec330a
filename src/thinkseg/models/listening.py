"""Text while it is written: the tokens that `thinkseg.models.generation.Engine` tells of in, pieces of text out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from thinkseg.models.encoder import Encoder

Hear = Callable[[int, str], None]
"""Told, for each token, (number of the continuation, text that follows what was told before, perhaps none of it yet).
It may raise, which ends the writing."""

UNFINISHED = "\ufffd"
"""What the tokens of half a character read as."""


class Listener:
    """Puts the tokens of some continuations into words, each as it grows; a `thinkseg.models.generation.Tell`."""

    def __init__(self, encoder: Encoder, hear: Hear) -> None:
        self._encoder = encoder
        self._hear = hear
        self._tokens: defaultdict[int, list[int]] = defaultdict(list)
        self._told: defaultdict[int, str] = defaultdict(str)

    def __call__(self, number: int, token: int) -> None:
        """Hears of the next token of a continuation."""
        tokens, told = self._tokens[number], self._told[number]
        tokens.append(token)
        # All of it is decoded anew: the letters of a token can depend on the one before.
        text = self._encoder.text(tokens)
        whole = told if text.endswith(UNFINISHED) else text
        self._hear(number, whole[len(told) :])
        self._told[number] = whole
