"""The forward pass of the language model of a Qwen-VL for one new token of each of many completions.

The result is that of the model's own forward pass, from fewer operations: a decoded token needs no mask, no image
features and no rotary positions on three axes. Keys and values are in a `shared_kv_cache.SharedKVCache`.
"""

from __future__ import annotations

from typing import Any

import torch

from thinkseg.models.policies.qwen.shared_kv_cache import SharedKVCache
from thinkseg.models.policies.qwen.vision_cache import without_adapter


class TokenStep:
    """model: a Qwen2.5-VL or Qwen3-VL, with or without a LoRA adapter. end: rotary positions are below."""

    def __init__(self, model: Any, end: int) -> None:
        base = without_adapter(model)
        self._head, self._text = base.lm_head, base.model.language_model
        self._rotations = self._rotations_below(end)

    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, cache: SharedKVCache) -> torch.Tensor:
        """Adds a token to each completion; returns the logits of the next one, (completions, vocabulary).

        tokens: int64 (completions,). positions: rotary positions of the tokens, int64 (completions,).
        """
        hidden = self._text.embed_tokens(tokens)
        cos, signed_sin = self._rotations[positions].unbind(1)
        for index, layer in enumerate(self._text.layers):
            query, key, value = _projected(layer.self_attn, layer.input_layernorm(hidden))
            query, key = _rotated(query, cos, signed_sin), _rotated(key, cos, signed_sin)
            attended = cache.attend(index, query * layer.self_attn.scaling, key, value)
            hidden = hidden + layer.self_attn.o_proj(attended)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self._head(self._text.norm(hidden))

    def _rotations_below(self, end: int) -> torch.Tensor:
        """Cosines and signed sines of positions that are equal on all axes, (end, 2, 1, channels)."""
        weight = self._text.embed_tokens.weight
        cos, sin = self._text.rotary_emb(weight, torch.arange(end, device=weight.device).expand(3, 1, -1))
        first, second = sin[0].chunk(2, -1)
        return torch.stack([cos[0], torch.cat([-first, second], -1)], 1)[:, :, None]


def _projected(module: Any, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values of new tokens, (completions, heads, channels) each."""
    query, key, value = (
        projection(hidden).view(len(hidden), -1, module.head_dim)
        for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    if hasattr(module, "q_norm"):  # Qwen3-VL
        query, key = module.q_norm(query), module.k_norm(key)
    return query, key, value


def _rotated(heads: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor) -> torch.Tensor:
    """Applies the rotary position embedding to (completions, heads, channels)."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), signed_sin)
