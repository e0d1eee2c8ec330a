"""How replies are sampled: temperature, length, random numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from thinkseg.errors import SettingsError

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 100.0
"""Range of a temperature that is not 0. Outside of it, probabilities overflow or lose all differences."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How replies are sampled. A checkpoint's own generation settings are not used, so that runs compare.

    temperature: 0 takes the most likely token. max_new_tokens: limit of one reply. seed: mixed into the seed of every
    reply. max_cache_tokens: tokens that a local model's KV cache may hold while it decodes (default: no limit).
    Raises SettingsError for values out of range.
    """

    temperature: float = 0.0
    max_new_tokens: int = 1024
    seed: int = 0
    max_cache_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.temperature != 0 and not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            limits = f"0, or from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}"
            raise SettingsError(f"sampling: temperature {self.temperature!r} must be {limits}")
        for name, least in (("max_new_tokens", 1), ("seed", 0), ("max_cache_tokens", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"sampling: {name} {value!r} must be >= {least}")

    def seeds(self, reply_seeds: Iterable[int]) -> list[int]:
        """The seeds of replies, each mixed with the seed of these settings."""
        return [mixed_seed(self.seed, seed) for seed in reply_seeds]


def mixed_seed(*parts: int | str) -> int:
    """A seed in 0..2**31 - 1 that depends on all parts and their order, equal on every machine."""
    # A hash and not a sum: part 2 of seed 0 must not be part 1 of seed 1.
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") >> 1
