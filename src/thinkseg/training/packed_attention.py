"""Attention in packed rows, without the pairs of tokens that do not see one another.

In a row `[prefix | branch 1 | ... | branch B]` (`training.packing`) most tokens do not see each other: under a mask
over
the whole row more is thrown away than kept. Here the prefix attends to itself, and each branch to it and to itself.
What comes out is what ordinary attention under that mask gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "thinkseg_branches"
"""What transformers knows this attention by."""

Lengths = tuple[tuple[int, ...], ...]
"""For each row of a batch the tokens of its prefix, then of each branch; what follows them is padding."""


def attend_by_branches(model: Any) -> None:
    """Has the language model of a Qwen-VL, wrapped or not, take `lengths` from now on, and attend accordingly.

    Called without them it attends as it always does. It stays so, because gradient checkpointing attends again later.
    """
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    part_of(model, "language_model").config._attn_implementation = NAME


def part_of(model: Any, name: str) -> Any:
    """A module of a model by the end of its name, whatever the model is wrapped in."""
    return next(module for place, module in model.named_modules() if place.endswith(name))


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    lengths: Lengths | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers asks it: query (rows, query heads, L, channels), key and value (rows, heads, L, channels)."""
    if lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    rows = zip(query.split(1), key.split(1), value.split(1), lengths, strict=True)
    output = torch.cat([_of_row(*row, settings["scaling"]) for row in rows])
    return output.transpose(1, 2), None


def _of_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: Sequence[int], scaling: float
) -> torch.Tensor:
    """Attention of one row (1, query heads, L, channels); nothing is seen by padding, and it gets zeros."""
    padding = query.shape[2] - sum(lengths)
    # Split at once: the gradients of slices, each as long as the whole row, would have to be added up.
    queries, keys, values = (part.split([*lengths, padding], 2) for part in (query, key, value))
    outputs = [
        functional.scaled_dot_product_attention(
            queries[0], keys[0], values[0], is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
    ]
    for own_query, own_key, own_value in zip(queries[1:-1], keys[1:-1], values[1:-1], strict=True):
        outputs.append(
            _of_branch(own_query, torch.cat([keys[0], own_key], 2), torch.cat([values[0], own_value], 2), scaling)
        )
    return torch.cat([*outputs, torch.zeros_like(queries[-1])], 2)


def _of_branch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of the last tokens of a dialogue to all of it: query is shorter than key and value."""
    shape = query.shape
    length, total = shape[2], key.shape[2]
    unseen = query.new_full((length, total), -torch.inf).triu_(total - length + 1)
    # Query heads that share a head of keys are rows of one product: no kernel for masks wants to know of such groups.
    output = functional.scaled_dot_product_attention(
        query.reshape(1, key.shape[1], -1, shape[-1]),
        key,
        value,
        attn_mask=unseen.repeat(shape[1] // key.shape[1], 1),
        scale=scaling,
    )
    return output.reshape(shape)
