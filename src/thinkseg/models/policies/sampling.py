"""How replies are sampled: temperature, length, seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinkseg.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Drawing:
    """How replies are drawn.

    temperature: 0 takes the likeliest token each time. max_new_tokens: of one reply. tokens_at_once: places in the
    model's cache that may be taken at a time, what is written included; as many as are needed if None. Beside them,
    each first turn is kept once.
    """

    temperature: float
    max_new_tokens: int
    tokens_at_once: int | None = None


def mixed_seed(seed: int, number: int) -> int:
    """A seed for the `number`-th of many draws. Mixed, not added: draw 2 of seed 0 must not be draw 1 of seed 1."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn. A checkpoint's own generation settings are not used, so that runs compare.

    temperature: 0 takes the likeliest token each time. seed: makes sampled replies repeatable, call by call.
    """

    temperature: float = 0.0
    max_new_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < float("inf") and self.max_new_tokens >= 1 and self.seed >= 0):
            raise SettingsError("sampling: temperature and seed are at least 0, and max_new_tokens at least 1")
