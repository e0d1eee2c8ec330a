"""Attention over one copy of the prompts, against ordinary attention over a copy per completion."""

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from thinkseg.models.policies.qwen import shared_kv_cache
from thinkseg.models.policies.qwen.shared_kv_cache import SharedKVCache

HEADS, GROUP, CHANNELS = 2, 3, 4


def prompts_cache(prompts: int, length: int) -> DynamicCache:
    generator = torch.Generator().manual_seed(0)
    cache = DynamicCache()
    for layer in range(2):
        shape = (prompts, HEADS, length, CHANNELS)
        cache.update(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), layer)
    return cache


class Reference:
    """Ordinary attention of one layer, with a copy of the prompt for each completion."""

    def __init__(self, cache: DynamicCache, seen: torch.Tensor, prompts: Sequence[int]) -> None:
        layer = cache.layers[1]
        self.keys, self.values, self.mask = layer.keys[prompts], layer.values[prompts], seen[prompts]

    def keep(self, rows: Sequence[int]) -> None:
        self.keys, self.values, self.mask = self.keys[rows], self.values[rows], self.mask[rows]

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        self.keys = torch.cat([self.keys, key[:, :, None]], 2)
        self.values = torch.cat([self.values, value[:, :, None]], 2)
        self.mask = functional.pad(self.mask, (0, 1), value=True)
        output = functional.scaled_dot_product_attention(
            query[:, :, None], self.keys, self.values, self.mask[:, None, None], scale=1.0, enable_gqa=True
        )
        return output.flatten(1)


def token(count: int, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (
        torch.randn(count, heads, CHANNELS, generator=generator) for heads in (HEADS * GROUP, HEADS, HEADS)
    )
    return scale * query, key, value


@pytest.mark.parametrize("scale", [0.5, 100.0])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("prompts", [[0, 0, 0], [1, 0, 1, 1], [2], [0, 0, 1, 1, 2, 2], [2, 0, 2, 1]])
def test_attend_matches_ordinary_attention(prompts: list[int], padding: int, scale: float) -> None:
    """Three prompts, one perhaps padded; completions are removed before the third and the fourth token."""
    cache = prompts_cache(3, 5)
    seen = torch.ones(3, 5, dtype=torch.bool)
    seen[1, :padding] = False
    shared, reference = SharedKVCache(cache, seen, prompts), Reference(cache, seen, prompts)
    count = len(prompts)
    for step in range(5):
        if step in (2, 3) and count > 1:
            rows = [count - 1, *range(1, count - 1)]  # the first leaves, and the last takes its place
            shared.keep(rows)
            reference.keep(rows)
            count -= 1
        states = token(count, step, scale)
        shared.attend(0, *token(count, 9))
        torch.testing.assert_close(shared.attend(1, *states), reference.attend(*states))


def test_keep_prompts_without_completions_leave() -> None:
    cache, seen = prompts_cache(4, 5), torch.ones(4, 5, dtype=torch.bool)
    shared, reference = SharedKVCache(cache, seen, [0, 1, 2, 3]), Reference(cache, seen, [0, 1, 2, 3])
    for rows, lines in (([0, 3, 2], 4), ([0, 1], 2)):
        shared.keep(rows)
        reference.keep(rows)
        assert len(shared._layers[1]._of_prompts[0]) == lines
        states = token(len(rows), lines)
        torch.testing.assert_close(shared.attend(1, *states), reference.attend(*states))


def test_shared_cache_does_not_copy_prompts() -> None:
    cache = prompts_cache(2, 5)
    shared = SharedKVCache(cache, torch.ones(2, 5, dtype=torch.bool), [0, 0, 1])
    shared.attend(0, *token(3, 0))
    assert shared._layers[0]._of_prompts[0].data_ptr() == cache.layers[0].keys.data_ptr()
    assert cache.layers[0].keys.shape == (2, HEADS, 5, CHANNELS)


def test_append_rarely_moves_earlier_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_kv_cache, "CAPACITY_STEP", 3)
    cache = SharedKVCache(prompts_cache(1, 5), torch.ones(1, 5, dtype=torch.bool), [0, 0])
    addresses = []
    for number in range(9):
        cache.attend(0, *token(2, number))
        addresses.append(cache._layers[0]._own[0].data_ptr())
    moves = [number for number in range(1, 9) if addresses[number] != addresses[number - 1]]
    assert moves == [3, 6]


def test_exponentials_small_ones_are_normal_numbers() -> None:
    weights, total, top = shared_kv_cache._exponentials(torch.tensor([[3.0, -100.0, -torch.inf]]))
    assert (weights > torch.finfo(torch.float32).tiny).all()
    assert (total.item(), top.item()) == (1.0, 3.0)
