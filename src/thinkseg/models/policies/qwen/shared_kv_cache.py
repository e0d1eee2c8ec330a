"""KV cache and attention for many completions of a few prompts, with one copy of the keys and values of each prompt.

Copying the prompt for each of eight completions would take most of the memory, and moving the copies most of the time,
of decoding a token. Instead, the queries of all completions of a prompt meet its keys in one product. A completion then
attends to its own tokens and to one more, which stands for the prompt: its score is the log-sum-exp of the prompt's
scores and its value is the attention to the prompt. The result is that of ordinary attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

CAPACITY_STEP = 64
"""Tokens by which the capacity for decoded tokens grows."""


class SharedKVCache:
    """Keys and values of P prompts and of their completions."""

    def __init__(self, cache: Any, attention_mask: torch.Tensor, prompts: Sequence[int]) -> None:
        """
        cache: of the prompts, a transformers cache, which is not copied. attention_mask: bool (P, L), False at its
        padding. prompts: the prompt of each completion, 0..P-1.
        """
        self._prompts = list(prompts)
        self._attention_mask = attention_mask
        self._layers = [_Layer(layer.keys, layer.values, len(prompts)) for layer in cache.layers]
        self._grid = self._new_grid()

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Adds a token to each completion and returns its attention, (completions, query heads x channels).

        query: (completions, query heads, channels), scaled. key, value: (completions, key heads, channels).
        """
        return self._layers[layer].attend(query, key, value, self._grid)

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps the completions `rows`, in this order. Prompts without completions leave once they are half of all."""
        self._prompts = [self._prompts[row] for row in rows]
        used = sorted(set(self._prompts))
        if 2 * len(used) <= len(self._attention_mask):
            self._prompts = [used.index(prompt) for prompt in self._prompts]
            self._attention_mask = self._attention_mask[used]
            for layer in self._layers:
                layer.keep_prompts(used)
        for layer in self._layers:
            layer.keep(rows)
        self._grid = self._new_grid()

    def _new_grid(self) -> _Grid:
        return _Grid(self._prompts, self._attention_mask, self._layers[0].num_heads)


class _Grid:
    """Places completions in a grid with a line per prompt, as wide as the largest group.

    Each cell has a row of query heads per key head.
    to_grid: int64 (P x key heads x width,), the completion and key head of a cell; any in empty cells. from_grid:
    int64 (completions x key heads,), the cells. mask: 0, and -inf at padding, float32 (P, 1, 1, L); None without.
    """

    def __init__(self, prompts: Sequence[int], attention_mask: torch.Tensor, heads: int) -> None:
        width = max(Counter(prompts).values())
        used: Counter[int] = Counter()
        cells = torch.empty(len(prompts), 1, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            cells[row] = prompt * heads * width + used[prompt]
            used[prompt] += 1
        from_grid = (cells + torch.arange(heads) * width).flatten()
        to_grid = torch.zeros(len(attention_mask) * heads * width, dtype=torch.long)
        to_grid[from_grid] = torch.arange(len(from_grid))
        self.from_grid, self.to_grid = from_grid.to(attention_mask.device), to_grid.to(attention_mask.device)
        self.mask = None
        if not attention_mask.all():
            self.mask = attention_mask.log()[:, None, None]


class _Layer:
    """Keys and values of one layer."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, count: int) -> None:
        """keys, values: of the prompts, (P, key heads, L, channels). count: number of completions."""
        self._of_prompts = keys.to(values.dtype), values  # autocast leaves keys in fp32
        self.num_heads, channels = values.shape[1], values.shape[3]
        # Of the completions, (completions, key heads, capacity, channels) each. Token 0 stands for the prompt.
        self._own = [values.new_zeros(count, self.num_heads, 1, channels) for _ in range(2)]
        self._length = 1

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: _Grid) -> torch.Tensor:
        keys, values = self._append(key, value)
        query = query.to(keys.dtype).view(*key.shape[:2], -1, key.shape[2])
        of_prompt, log_sum = self._attend_to_prompts(query, grid)
        scores = (query @ keys.mT).float()
        scores[..., 0] = log_sum
        weights, total, _ = _exponentials(scores)
        weights = weights.to(values.dtype)
        output = torch.addcmul(weights @ values, weights[..., :1], of_prompt)
        return output.div_(total).view(len(key), -1)

    def keep(self, rows: Sequence[int]) -> None:
        """Keeps the completions `rows`, in this order. Those that keep their place are not copied."""
        moved = [place for place, row in enumerate(rows) if place != row]
        sources = [rows[place] for place in moved]
        for buffer in self._own:
            buffer[moved, :, : self._length] = buffer[sources, :, : self._length]
        self._own = [buffer[: len(rows)] for buffer in self._own]

    def keep_prompts(self, prompts: Sequence[int]) -> None:
        keys, values = self._of_prompts
        self._of_prompts = keys[prompts], values[prompts]

    def _append(self, *added: torch.Tensor) -> list[torch.Tensor]:
        """The keys and values of all tokens, (completions, key heads, T, channels)."""
        if self._length == self._own[0].shape[2]:
            self._own = [_grown(buffer) for buffer in self._own]
        for buffer, new in zip(self._own, added, strict=True):
            buffer[:, :, self._length] = new
        self._length += 1
        return [buffer[:, :, : self._length] for buffer in self._own]

    def _attend_to_prompts(self, query: torch.Tensor, grid: _Grid) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention to the prompts, in the shape of `query`, and the log-sum-exp of its scores, without channels.

        query: (completions, key heads, query heads per key head, channels).
        """
        keys, values = self._of_prompts
        group, channels = query.shape[2:]
        on_grid = query.view(-1, group * channels).index_select(0, grid.to_grid)
        scores = (on_grid.view(*keys.shape[:2], -1, channels) @ keys.mT).float()
        if grid.mask is not None:
            scores += grid.mask
        weights, total, top = _exponentials(scores)
        output = (weights.to(values.dtype) @ values).div_(total)
        output = output.view(-1, group * channels).index_select(0, grid.from_grid)
        log_sum = total.log_().add_(top).view(-1, group).index_select(0, grid.from_grid)
        return output.view(query.shape), log_sum.view(query.shape[:3])


def _exponentials(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The exponentials of scores minus their maximum, their sum, and the maximum. Overwrites `scores`.

    The smallest is exp(-60), which adds nothing to a sum in float32: most CPUs compute with denormal numbers, as
    exp(-90) would be, ten times as long.
    """
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).clamp_(min=-60).exp_()
    return weights, weights.sum(-1, keepdim=True), top


def _grown(buffer: torch.Tensor) -> torch.Tensor:
    """A copy with capacity for more tokens, (completions, key heads, capacity, channels)."""
    count, heads, length, channels = buffer.shape
    larger = buffer.new_empty(count, heads, length + CAPACITY_STEP, channels)
    larger[:, :, :length] = buffer
    return larger
