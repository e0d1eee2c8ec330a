"""Attention over one copy of what was read, against ordinary attention over copies of it."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers.cache_utils import DynamicCache

from thinkseg.models.policies.qwen import shared_kv_cache

HEADS, GROUP, CHANNELS = 2, 3, 4


def read(dialogues: int, length: int) -> DynamicCache:
    generator = torch.Generator().manual_seed(0)
    cache = DynamicCache()
    for layer in range(2):
        shape = (dialogues, HEADS, length, CHANNELS)
        cache.update(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), layer)
    return cache


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("rows", [[0, 0, 0], [1, 0, 1, 1], [2], [0, 0, 1, 1, 2, 2]])
def test_it_is_attention(rows: list[int], padding: int) -> None:
    """Three dialogues, one perhaps padded, continued by two tokens one after another; then some are left out."""
    before = read(3, 5)
    seen = torch.ones(3, 5, dtype=torch.bool)
    seen[1, :padding] = False
    cache, places = shared_kv_cache.shared_cache(before, seen, rows)
    generator = torch.Generator().manual_seed(1)
    keys, values = ([layer.keys[rows], layer.values[rows]][i] for i in (0, 1) for layer in before.layers[1:])
    mask = seen[rows]
    kept = torch.arange(len(rows))
    for step in range(3):
        if step == 2:
            kept = torch.tensor([0, len(rows) - 1]).unique()
            cache.batch_select_indices(kept)
            places.keep(kept)
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


def test_what_was_read_is_not_copied() -> None:
    before = read(2, 5)
    cache, _ = shared_kv_cache.shared_cache(before, torch.ones(2, 5, dtype=torch.bool), [0, 0, 1])
    key, _ = cache.update(torch.zeros(3, HEADS, 1, CHANNELS), torch.zeros(3, HEADS, 1, CHANNELS), 0)
    assert key.read.data_ptr() == before.layers[0].keys.data_ptr()
    assert before.layers[0].keys.shape == (2, HEADS, 5, CHANNELS)


def test_what_is_written_is_kept_in_order_and_moved_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine tokens with room for three more each time, after the fifth of which one continuation is left out."""
    monkeypatch.setattr(shared_kv_cache, "ROOM", 3)
    cache, _ = shared_kv_cache.shared_cache(read(1, 5), torch.ones(1, 5, dtype=torch.bool), [0, 0, 0])
    cache.batch_select_indices(torch.tensor([0, 1, 2]))  # nothing has been written yet
    written = torch.randn(9, 2, 3, HEADS, 1, CHANNELS)
    rows, places = [0, 1, 2], []
    for number, token in enumerate(written):
        if number == 5:
            rows = [0, 2]
            cache.batch_select_indices(torch.tensor(rows))
        key, value = cache.update(*token[:, rows], 0)
        expected = torch.cat(list(written[: number + 1]), -2)[:, rows]
        assert torch.equal(key.written, expected[0])
        assert torch.equal(value.written, expected[1])
        assert cache.get_seq_length() == number + 1
        places.append(key.written.data_ptr())
    moves = [number for number in range(1, 9) if places[number] != places[number - 1]]
    assert moves == [3, 5, 6]


def test_the_model_is_left_as_it_was() -> None:
    config = SimpleNamespace(_attn_implementation="sdpa")

    def fail() -> None:
        with shared_kv_cache.attending(config):
            assert config._attn_implementation == shared_kv_cache.NAME
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert config._attn_implementation == "sdpa"
