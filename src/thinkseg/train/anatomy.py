"""What a Qwen-VL is made of, told from its configuration alone: a name in, numbers of weights and sizes of layers out.

The model is built on torch's meta device, where tensors have shapes and no contents: even the largest takes a second
and no memory, and its weights need not be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkseg.models.qwen import MODEL_CLASSES, create_model, model_type
from thinkseg.train.recipe import Create
from thinkseg.train.run import LORA_TARGETS


@dataclass(frozen=True, slots=True)
class Tower:
    """One half of a model: a stack of equal layers.

    weights: all of its own, in the language half without embeddings and head; matrices: those in the layers' matrices.
    width, inner: channels between layers and inside their feed-forward parts. attended: channels of queries.
    whole: layers in which a token sees all others; in the rest, of a vision tower, it sees `window` of them.
    """

    weights: int
    matrices: int
    layers: int
    width: int
    inner: int
    attended: int
    whole: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model by its parts.

    ends: weights of embeddings and head, which may be the same. adapted: channels into and out of all layers that LoRA
    adapts; times its rank, that is the size of an adapter. kept: keys and values that a token leaves in the cache.
    patch, merge: side of a patch in pixels, and how many patches a visual token is wide.
    """

    kind: str
    vision: Tower
    language: Tower
    ends: int
    adapted: int
    kept: int
    vocabulary: int
    patch: int
    merge: int

    @property
    def weights(self) -> int:
        return self.vision.weights + self.language.weights + self.ends

    def patches(self, size_wh: tuple[int, int]) -> int:
        """Of an image of that size."""
        return (size_wh[0] // self.patch) * (size_wh[1] // self.patch)

    def visual_tokens(self, size_wh: tuple[int, int]) -> int:
        """Of an image of that size."""
        return self.patches(size_wh) // self.merge**2


def anatomy(name: str | Path) -> Anatomy:
    """Of a folder or hub name. Raises ModelError if there is no such configuration, or not of a kind we know."""
    import transformers

    kind = model_type(name)
    config = transformers.AutoConfig.from_pretrained(name)
    return _built(lambda: getattr(transformers, MODEL_CLASSES[kind])(config))


def anatomy_of_created(create: Create) -> Anatomy:
    """Of a model that a recipe makes from nothing, with the largest vocabulary it may get. Raises SettingsError."""
    return _built(lambda: create_model(create.vision, create.text, _Words(create.vocab_size), 0))


class _Words:
    """What `create_model` asks of a tokenizer, which here has not been learned yet."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def convert_tokens_to_ids(self, token: str) -> int:
        return 0


def _built(make: Callable[[], Any]) -> Anatomy:
    import torch

    with torch.device("meta"):
        model = make()
    return _described(model)


def _described(model: Any) -> Anatomy:
    config, vision, text = model.config, model.config.vision_config, model.config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    windowed = getattr(vision, "fullatt_block_indexes", None)
    language = Tower(
        *_counted(model.model.language_model.layers, model.model.language_model.norm),
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        inner=text.intermediate_size,
        attended=text.num_attention_heads * head,
        whole=text.num_hidden_layers,
    )
    tower = Tower(
        *_counted(model.model.visual),
        layers=vision.depth,
        width=vision.hidden_size,
        inner=vision.intermediate_size,
        attended=vision.hidden_size,
        whole=vision.depth if windowed is None else len(windowed),
        window=0 if windowed is None else (vision.window_size // vision.patch_size) ** 2,
    )
    linears = {n: m for n, m in model.named_modules() if re.fullmatch(LORA_TARGETS, n)}
    return Anatomy(
        kind=config.model_type,
        vision=tower,
        language=language,
        ends=sum(p.numel() for p in model.parameters()) - tower.weights - language.weights,
        adapted=sum(m.in_features + m.out_features for m in linears.values()),
        kept=2 * text.num_key_value_heads * head * text.num_hidden_layers,
        vocabulary=text.vocab_size,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
    )


def _counted(*modules: Any) -> tuple[int, int]:
    """Weights of modules, and those of them that are in matrices."""
    weights = [p for module in modules for p in module.parameters()]
    return sum(p.numel() for p in weights), sum(p.numel() for p in weights if p.ndim == 2)
