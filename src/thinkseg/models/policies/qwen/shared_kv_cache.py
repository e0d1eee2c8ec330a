"""KV cache and attention for many completions of a few prompts, with one copy of the keys and values of each prompt.

Copying the prompt for each of eight completions would take most of the memory, and moving the copies most of the time,
of decoding a token. Instead, the queries of all completions of a prompt meet its keys in one product, and the keys of
their own tokens in another. One softmax over both gives the result of ordinary attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

NAME = "thinkseg_shared"
"""Name of this attention in transformers."""

CAPACITY_STEP = 64
"""Tokens by which the capacity of the suffixes grows."""


@dataclass(slots=True)
class BranchLayout:
    """Positions of the completions in a grid: one row per prompt, one column per completion of the largest group.

    cells: int64 (completions,), indices into the flattened grid; None if the completions fill it in order, and need not
    be moved. padding: bool (P, 1, 1, L), True at padding of the prompts; None without padding.
    """

    rows: int
    columns: int
    cells: torch.Tensor | None
    padding: torch.Tensor | None

    def keep(self, kept: torch.Tensor) -> None:
        """Removes all completions but `kept`, int64 (kept,)."""
        all_cells = torch.arange(self.rows * self.columns, device=kept.device)
        self.cells = (all_cells if self.cells is None else self.cells)[kept]


class SplitKV(NamedTuple):
    """Keys or values.

    prefix: of the prompts, (P, heads, L, channels). suffix: of the decoded tokens, (completions, heads, T, channels).
    """

    prefix: torch.Tensor
    suffix: torch.Tensor
    layout: BranchLayout


class _Layer(DynamicLayer):
    """A cache layer that stores the suffixes and returns them with the prefixes.

    It has capacity for more tokens than it holds, so that a new token does not move the others.
    """

    def __init__(self, layer: Any, layout: BranchLayout) -> None:
        super().__init__()
        self._prefix = layer.keys, layer.values
        self._layout = layout
        self._buffers: list[torch.Tensor] = []  # of keys and values, (completions, heads, capacity, channels)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [new[:, :, :0] for new in (key_states, value_states)]
        start, added = self.get_seq_length(), key_states.shape[2]
        if start + added > self._buffers[0].shape[2]:
            self._buffers = [_grown(buffer, start, added) for buffer in self._buffers]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : start + added] = new
        self.keys, self.values = (buffer[:, :, : start + added] for buffer in self._buffers)
        return SplitKV(self._prefix[0], self.keys, self._layout), SplitKV(self._prefix[1], self.values, self._layout)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.get_seq_length()
        self._buffers = [buffer[indices] for buffer in self._buffers]
        if self._buffers:
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def _grown(buffer: torch.Tensor, length: int, added: int) -> torch.Tensor:
    """The first `length` tokens of (completions, heads, capacity, channels), with capacity for more."""
    count, heads, _, channels = buffer.shape
    larger = buffer.new_zeros(count, heads, length + max(CAPACITY_STEP, added), channels)
    larger[:, :, :length] = buffer[:, :, :length]
    return larger


def shared_cache(cache: Any, attention_mask: torch.Tensor, rows: Sequence[int]) -> tuple[Cache, BranchLayout]:
    """A cache for one completion per entry of `rows`, which are rows of `cache`. The prompts are not copied.

    attention_mask: bool (P, L), False at padding.
    """
    columns = max(Counter(rows).values())
    used: Counter[int] = Counter()
    cells = []
    for row in rows:
        cells.append(row * columns + used[row])
        used[row] += 1
    full = cells == list(range(len(attention_mask) * columns))
    layout = BranchLayout(
        len(attention_mask),
        columns,
        None if full else torch.tensor(cells, device=attention_mask.device),
        None if attention_mask.all() else ~attention_mask[:, None, None],
    )
    return Cache(layers=[_Layer(layer, layout) for layer in cache.layers]), layout


@contextmanager
def attending(config: Any) -> Iterator[None]:
    """Makes the language model of this configuration use such a cache inside the `with` block."""
    AttentionInterface.register(NAME, _attend)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: Any, query: torch.Tensor, key: SplitKV, value: SplitKV, attention_mask: None, scaling: float, **others: Any
) -> tuple[torch.Tensor, None]:
    """Attention of one new token per completion, (completions, query heads, 1, channels); called by transformers."""
    count, heads, _, channels = query.shape
    layout = key.layout
    # Query heads that share a key head are rows of one product.
    query = query.reshape(count, key.suffix.shape[1], -1, channels) * scaling
    on_suffix = query @ key.suffix.transpose(-1, -2)
    on_prefix = _from_grid(_to_grid(query, layout) @ key.prefix.transpose(-1, -2), layout, mask=True)
    weights = torch.cat([on_prefix, on_suffix], -1).softmax(-1, dtype=torch.float32).to(value.suffix.dtype)
    of_prefix, of_suffix = weights.split([on_prefix.shape[-1], on_suffix.shape[-1]], -1)
    output = _from_grid(_to_grid(of_prefix, layout) @ value.prefix, layout) + of_suffix @ value.suffix
    return output.reshape(count, 1, heads, channels), None


def _to_grid(rows: torch.Tensor, layout: BranchLayout) -> torch.Tensor:
    """Completions (completions, heads, group, n) as (P, heads, columns x group, n), with zeros in empty cells."""
    _, heads, group, last = rows.shape
    grid = rows
    if layout.cells is not None:
        grid = rows.new_zeros(layout.rows * layout.columns, heads, group, last)
        grid[layout.cells] = rows
    grid = grid.view(layout.rows, layout.columns, heads, group, last)
    return grid.transpose(1, 2).reshape(layout.rows, heads, -1, last)


def _from_grid(grid: torch.Tensor, layout: BranchLayout, mask: bool = False) -> torch.Tensor:
    """The inverse of `_to_grid`. mask: gives scores of padding the smallest value, hence no weight."""
    if mask and layout.padding is not None:
        grid = grid.masked_fill(layout.padding, torch.finfo(grid.dtype).min)
    lines, heads, _, last = grid.shape
    rows = grid.view(lines, heads, layout.columns, -1, last).transpose(1, 2)
    rows = rows.reshape(lines * layout.columns, heads, -1, last)
    return rows if layout.cells is None else rows[layout.cells]
