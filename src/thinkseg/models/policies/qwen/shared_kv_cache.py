"""Many continuations of a few dialogues over one copy of what has been read: a model's cache in, another out.

Eight attempts at a prompt see the same keys and values up to where they begin. Copied for each of them, these are most
of the memory, and moving them is most of the time, that writing a token takes. Here they stay where they are: the
queries of all continuations of a dialogue meet its keys in one product, those of their own words in another, and one
softmax over both makes the result that of ordinary attention.
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
"""What transformers knows this attention by."""

ROOM = 64
"""Places that are added for what is written, whenever there is no more."""


@dataclass(slots=True)
class BranchLayout:
    """Where the continuations belong: in a grid with a line for each of P dialogues and as many columns as the largest
    group has members.

    at: int64 (continuations,), their places in the grid, line by line; None if they fill it in this order, and need not
    be moved there and back. hidden: bool (P, 1, 1, L), where a dialogue is padded; None if none is.
    """

    lines: int
    columns: int
    at: torch.Tensor | None
    hidden: torch.Tensor | None

    def keep(self, kept: torch.Tensor) -> None:
        """Leaves out all continuations but some, int64 (kept,)."""
        everywhere = torch.arange(self.lines * self.columns, device=kept.device)
        self.at = (everywhere if self.at is None else self.at)[kept]


class Half(NamedTuple):
    """Keys, or values: what was read, (P, heads, L, channels), and what was written, (continuations, heads, T, ...)."""

    read: torch.Tensor
    written: torch.Tensor
    places: BranchLayout


class _Layer(DynamicLayer):
    """A layer of the cache: it holds what is written, and gives the model what was read along with it.

    There is room for more than has been written, so that a token is put beside the others without moving them.
    """

    def __init__(self, layer: Any, places: BranchLayout) -> None:
        super().__init__()
        self._read = layer.keys, layer.values
        self._places = places
        self._room: list[torch.Tensor] = []  # of keys and values, (continuations, heads, places, channels)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = [new[:, :, :0] for new in (key_states, value_states)]
        start, added = self.get_seq_length(), key_states.shape[2]
        if start + added > self._room[0].shape[2]:
            self._room = [_roomier(room, start, added) for room in self._room]
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start : start + added] = new
        self.keys, self.values = (room[:, :, : start + added] for room in self._room)
        return Half(self._read[0], self.keys, self._places), Half(self._read[1], self.values, self._places)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.get_seq_length()
        self._room = [room[indices] for room in self._room]
        if self._room:
            self.keys, self.values = (room[:, :, :length] for room in self._room)


def _roomier(room: torch.Tensor, length: int, added: int) -> torch.Tensor:
    """The first `length` places of (continuations, heads, places, channels), with room for some more behind them."""
    count, heads, _, channels = room.shape
    larger = room.new_zeros(count, heads, length + max(ROOM, added), channels)
    larger[:, :, :length] = room[:, :, :length]
    return larger


def shared_cache(cache: Any, seen: torch.Tensor, rows: Sequence[int]) -> tuple[Cache, BranchLayout]:
    """A cache in which each entry of `rows`, a place in `cache`, is continued. What was read is not copied.

    seen: bool (P, L), False where a dialogue is padded.
    """
    columns = max(Counter(rows).values())
    met: Counter[int] = Counter()
    at = []
    for row in rows:
        at.append(row * columns + met[row])
        met[row] += 1
    full = at == list(range(len(seen) * columns))
    places = BranchLayout(
        len(seen),
        columns,
        None if full else torch.tensor(at, device=seen.device),
        None if seen.all() else ~seen[:, None, None],
    )
    return Cache(layers=[_Layer(layer, places) for layer in cache.layers]), places


@contextmanager
def attending(config: Any) -> Iterator[None]:
    """Has the language model of this configuration use such a cache, for the while."""
    AttentionInterface.register(NAME, _attend)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: Any, query: torch.Tensor, key: Half, value: Half, attention_mask: None, scaling: float, **others: Any
) -> tuple[torch.Tensor, None]:
    """Attention of one new token a continuation, (continuations, query heads, 1, channels), as transformers asks it."""
    count, heads, _, channels = query.shape
    places = key.places
    # Query heads that share a head of keys are rows of one product.
    query = query.reshape(count, key.written.shape[1], -1, channels) * scaling
    own = query @ key.written.transpose(-1, -2)
    read = _of_grid(_on_grid(query, places) @ key.read.transpose(-1, -2), places, hidden=True)
    share = torch.cat([read, own], -1).softmax(-1, dtype=torch.float32).to(value.written.dtype)
    of_read, of_own = share.split([read.shape[-1], own.shape[-1]], -1)
    output = _of_grid(_on_grid(of_read, places) @ value.read, places) + of_own @ value.written
    return output.reshape(count, 1, heads, channels), None


def _on_grid(rows: torch.Tensor, places: BranchLayout) -> torch.Tensor:
    """Rows (continuations, heads, group, n) as (P, heads, columns x group, n), zeros where the grid is empty."""
    _, heads, group, last = rows.shape
    grid = rows
    if places.at is not None:
        grid = rows.new_zeros(places.lines * places.columns, heads, group, last)
        grid[places.at] = rows
    grid = grid.view(places.lines, places.columns, heads, group, last)
    return grid.transpose(1, 2).reshape(places.lines, heads, -1, last)


def _of_grid(grid: torch.Tensor, places: BranchLayout, hidden: bool = False) -> torch.Tensor:
    """The inverse of `_on_grid`. hidden: makes scores of padding so small that it has no share."""
    if hidden and places.hidden is not None:
        grid = grid.masked_fill(places.hidden, torch.finfo(grid.dtype).min)
    lines, heads, _, last = grid.shape
    rows = grid.view(lines, heads, places.columns, -1, last).transpose(1, 2)
    rows = rows.reshape(lines * places.columns, heads, -1, last)
    return rows if places.at is None else rows[places.at]
