"""Attention for packed rows, computed branch by branch.

In a row `[prefix | branch 1 | ... | branch B]` (`training.packing`) most pairs of tokens do not attend to each other.
Masked attention over the complete row would compute more than it uses. Here the prefix attends to itself, and each
branch to the prefix and itself. The result equals that of masked attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "thinkseg_branches"
"""Name of this attention in the registry of transformers."""

Lengths = tuple[tuple[int, ...], ...]
"""Per row of a batch, the number of tokens of its prefix and of each branch; the rest of the row is padding."""


def attend_by_branches(model: Any) -> None:
    """Makes the language model of a Qwen-VL, wrapped or not, accept the keyword argument `lengths`.

    Without that argument its attention is unchanged. The change is permanent, because gradient checkpointing computes
    attention again in the backward pass.
    """
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    submodule(model, "language_model").config._attn_implementation = ATTENTION


def submodule(model: Any, suffix: str) -> Any:
    """Returns the first module whose name ends with the suffix; wrappers of the model add prefixes to names."""
    return next(module for name, module in model.named_modules() if name.endswith(suffix))


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    lengths: Lengths | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Called by transformers. query: (rows, query heads, L, channels); key, value: (rows, heads, L, channels)."""
    if lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    rows = zip(query.split(1), key.split(1), value.split(1), lengths, strict=True)
    output = torch.cat([_of_row(*row, settings["scaling"]) for row in rows])
    return output.transpose(1, 2), None


def _of_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: Sequence[int], scaling: float
) -> torch.Tensor:
    """Attention of one row (1, query heads, L, channels). The output of padding is zero."""
    padding = query.shape[2] - sum(lengths)
    # One split instead of slices: the gradient of each slice would be as long as the complete row.
    queries, keys, values = (part.split([*lengths, padding], 2) for part in (query, key, value))
    outputs = [
        functional.scaled_dot_product_attention(
            queries[0], keys[0], values[0], is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
    ]
    for branch_query, branch_key, branch_value in zip(queries[1:-1], keys[1:-1], values[1:-1], strict=True):
        all_keys, all_values = torch.cat([keys[0], branch_key], 2), torch.cat([values[0], branch_value], 2)
        outputs.append(_of_branch(branch_query, all_keys, all_values, scaling))
    return torch.cat([*outputs, torch.zeros_like(queries[-1])], 2)


def _of_branch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of the last tokens of a dialogue to the complete dialogue: query is shorter than key and value."""
    shape = query.shape
    length, total = shape[2], key.shape[2]
    mask = query.new_full((length, total), -torch.inf).triu_(total - length + 1)
    # Query heads that share a key head become rows of one product: kernels with masks do not support `enable_gqa`.
    output = functional.scaled_dot_product_attention(
        query.reshape(1, key.shape[1], -1, shape[-1]),
        key,
        value,
        attn_mask=mask.repeat(shape[1] // key.shape[1], 1),
        scale=scaling,
    )
    return output.reshape(shape)
