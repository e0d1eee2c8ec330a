"""Attention over one copy of the prompts, against ordinary attention over a copy per completion."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from thinkseg.models.policies.qwen import shared_kv_cache

HEADS, GROUP, CHANNELS = 2, 3, 4


def prompts_cache(prompts: int, length: int) -> DynamicCache:
    generator = torch.Generator().manual_seed(0)
    cache = DynamicCache()
    for layer in range(2):
        shape = (prompts, HEADS, length, CHANNELS)
        cache.update(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), layer)
    return cache


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("rows", [[0, 0, 0], [1, 0, 1, 1], [2], [0, 0, 1, 1, 2, 2]])
def test_attend_matches_ordinary_attention(rows: list[int], padding: int) -> None:
    """Three prompts, one perhaps padded, and three tokens; some completions are removed before the last one."""
    before = prompts_cache(3, 5)
    seen = torch.ones(3, 5, dtype=torch.bool)
    seen[1, :padding] = False
    cache, layout = shared_kv_cache.shared_cache(before, seen, rows)
    generator = torch.Generator().manual_seed(1)
    keys, values = ([layer.keys[rows], layer.values[rows]][i] for i in (0, 1) for layer in before.layers[1:])
    mask = seen[rows]
    kept = torch.arange(len(rows))
    for step in range(3):
        if step == 2:
            kept = torch.tensor([0, len(rows) - 1]).unique()
            cache.batch_select_indices(kept)
            layout.keep(kept)
            keys, values, mask = keys[kept], values[kept], mask[kept]
        new = [torch.randn(len(kept), HEADS, 1, CHANNELS, generator=generator) for _ in range(2)]
        query = torch.randn(len(kept), HEADS * GROUP, 1, CHANNELS, generator=generator)
        for layer in (0, 1):
            key, value = cache.update(*new, layer)
        keys, values = torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        expected = functional.scaled_dot_product_attention(
            query,
            keys.repeat_interleave(GROUP, 1),
            values.repeat_interleave(GROUP, 1),
            attn_mask=mask[:, None, None],
            scale=0.5,
        )
        found, _ = shared_kv_cache._attend(None, query, key, value, None, scaling=0.5)
        torch.testing.assert_close(found, expected.transpose(1, 2))


def test_shared_cache_does_not_copy_prefix() -> None:
    before = prompts_cache(2, 5)
    cache, _ = shared_kv_cache.shared_cache(before, torch.ones(2, 5, dtype=torch.bool), [0, 0, 1])
    key, _ = cache.update(torch.zeros(3, HEADS, 1, CHANNELS), torch.zeros(3, HEADS, 1, CHANNELS), 0)
    assert key.prefix.data_ptr() == before.layers[0].keys.data_ptr()
    assert before.layers[0].keys.shape == (2, HEADS, 5, CHANNELS)


def test_layer_keeps_suffix_in_order_and_rarely_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tokens with a capacity step of three; one completion is removed after the fifth."""
    monkeypatch.setattr(shared_kv_cache, "CAPACITY_STEP", 3)
    cache, _ = shared_kv_cache.shared_cache(prompts_cache(1, 5), torch.ones(1, 5, dtype=torch.bool), [0, 0, 0])
    cache.batch_select_indices(torch.tensor([0, 1, 2]))  # there is no token yet
    written = torch.randn(9, 2, 3, HEADS, 1, CHANNELS)
    rows, addresses = [0, 1, 2], []
    for number, token in enumerate(written):
        if number == 5:
            rows = [0, 2]
            cache.batch_select_indices(torch.tensor(rows))
        key, value = cache.update(*token[:, rows], 0)
        expected = torch.cat(list(written[: number + 1]), -2)[:, rows]
        assert torch.equal(key.suffix, expected[0])
        assert torch.equal(value.suffix, expected[1])
        assert cache.get_seq_length() == number + 1
        addresses.append(key.suffix.data_ptr())
    moves = [number for number in range(1, 9) if addresses[number] != addresses[number - 1]]
    assert moves == [3, 5, 6]


def test_attending_error_restores_attention() -> None:
    config = SimpleNamespace(_attn_implementation="sdpa")

    def fail() -> None:
        with shared_kv_cache.attending(config):
            assert config._attn_implementation == shared_kv_cache.NAME
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert config._attn_implementation == "sdpa"
