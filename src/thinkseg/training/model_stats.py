"""Parameter counts and layer sizes of a Qwen-VL, from its configuration only.

The model is built on torch's meta device, where tensors have shapes but no data. This takes about a second for the
largest model, no memory, and no weights on disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkseg.models.loading import load_config
from thinkseg.models.model_files import reading
from thinkseg.models.policies.qwen.checkpoint import MODEL_CLASSES, create_model
from thinkseg.training.loop.optimizers import in_layers
from thinkseg.training.recipes import Create
from thinkseg.training.trainer import LORA_TARGETS


@dataclass(frozen=True, slots=True)
class TowerStats:
    """The vision tower or the language model: a stack of equal layers.

    params: all parameters; those of the language model exclude the embeddings and the head.
    matrix_params: of `params`, those in matrices inside the layers, which Muon trains.
    hidden_size: channels between layers. intermediate_size: channels inside the feed-forward block.
    query_size: channels of all query heads.
    """

    params: int
    matrix_params: int
    layers: int
    hidden_size: int
    intermediate_size: int
    query_size: int


@dataclass(frozen=True, slots=True)
class ModelStats:
    """Sizes of a model.

    embedding_params: of embeddings and head, counted once if they are tied.
    lora_width: input plus output channels of all linear layers that LoRA adapts; an adapter has rank * lora_width
        parameters.
    kv_per_token: numbers in the KV cache per token, over all layers.
    patch: side of a patch in pixels. merge: a visual token covers merge x merge patches.
    """

    model_type: str
    vision: TowerStats
    language: TowerStats
    embedding_params: int
    lora_width: int
    kv_per_token: int
    vocab_size: int
    patch: int
    merge: int

    @property
    def params(self) -> int:
        return self.vision.params + self.language.params + self.embedding_params

    def patches(self, size_wh: tuple[int, int]) -> int:
        """Number of patches of an image."""
        return (size_wh[0] // self.patch) * (size_wh[1] // self.patch)

    def visual_tokens(self, size_wh: tuple[int, int]) -> int:
        """Number of visual tokens of an image."""
        return self.patches(size_wh) // self.merge**2


def model_stats(name: str | Path) -> ModelStats:
    """Returns the stats of a model folder or hub name.

    Raises ModelError if the configuration is missing or its model type is unknown.
    """
    import transformers

    config = load_config(name, MODEL_CLASSES, "policies")
    with reading(name, "measure its config.json"):
        return _stats(lambda: getattr(transformers, MODEL_CLASSES[config.model_type])(config))


def created_model_stats(create: Create) -> ModelStats:
    """Returns the stats of a model that a recipe creates, at its largest vocabulary. Raises SettingsError."""
    return _stats(lambda: create_model(create.vision, create.text, _TokenizerStub(create.vocab_size), 0))


class _TokenizerStub:
    """The part of a tokenizer that `create_model` uses; the real one is trained when the run starts."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def convert_tokens_to_ids(self, token: str) -> int:
        return 0


def _stats(make: Callable[[], Any]) -> ModelStats:
    import torch

    with torch.device("meta"):
        model = make()
    config, text = model.config, model.config.text_config
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    language = _language_stats(model, text, head_dim)
    vision = _vision_stats(model, config.vision_config)
    adapted = [m for n, m in model.named_modules() if re.fullmatch(LORA_TARGETS, n)]
    return ModelStats(
        model_type=config.model_type,
        vision=vision,
        language=language,
        embedding_params=sum(p.numel() for p in model.parameters()) - vision.params - language.params,
        lora_width=sum(m.in_features + m.out_features for m in adapted),
        kv_per_token=2 * text.num_key_value_heads * head_dim * text.num_hidden_layers,
        vocab_size=text.vocab_size,
        patch=config.vision_config.patch_size,
        merge=config.vision_config.spatial_merge_size,
    )


def _language_stats(model: Any, text: Any, head_dim: int) -> TowerStats:
    return TowerStats(
        *_count_params(model, r"model\.language_model\.(layers|norm)\..*"),
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        intermediate_size=text.intermediate_size,
        query_size=text.num_attention_heads * head_dim,
    )


def _vision_stats(model: Any, vision: Any) -> TowerStats:
    return TowerStats(
        *_count_params(model, r"model\.visual\..*"),
        layers=vision.depth,
        hidden_size=vision.hidden_size,
        intermediate_size=vision.intermediate_size,
        query_size=vision.hidden_size,
    )


def _count_params(model: Any, names: str) -> tuple[int, int]:
    """Number of parameters with matching names, and number of those in matrices inside layers."""
    found = [(name, p) for name, p in model.named_parameters() if re.fullmatch(names, name)]
    matrices = [p for name, p in found if p.ndim == 2 and in_layers(name)]
    return sum(p.numel() for _, p in found), sum(p.numel() for p in matrices)
