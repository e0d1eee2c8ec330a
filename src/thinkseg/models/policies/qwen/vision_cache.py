"""Cache of image features, so that each image passes the vision tower once.

The frames of a prompt are the same for all rollouts of its group, for the reference and, if the vision tower is frozen,
for the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class ImageFeatureCache:
    """Computes image features without gradients, and caches them. Clear the cache when the tower changes.

    model: a Qwen-VL, with or without a LoRA adapter. device: where it computes (default: where its weights are).
    """

    def __init__(self, model: Any, device: str | None = None) -> None:
        self._model = model
        self._device = device
        # The last group is the one that was used last.
        self._cached: dict[tuple[Any, ...], list[tuple[torch.Tensor, _Features]]] = {}

    def features(self, images: Sequence[torch.Tensor], grids: Sequence[torch.Tensor]) -> Any:
        """The features of images, in the form of the models' `mm_encoder_outputs`.

        images: float32 (patches, patch values) each. grids: int64 (3,) each; see
        `models.policies.qwen.encoder.EncodedDialogue`.
        """
        found = [self._find(image) for image in images]
        missing = [i for i, features in enumerate(found) if features is None]
        if missing:
            self._compute(_distinct([images[i] for i in missing], [grids[i] for i in missing]))
            for i in missing:
                found[i] = self._find(images[i])
        return _joined([features for features in found if features is not None])

    def clear(self) -> None:
        """Frees all features."""
        self._cached.clear()

    def trim(self, max_bytes: int) -> None:
        """Frees the features that were not used for the longest time, until the others and their images fit."""
        sizes = {key: sum(image.nbytes + one.nbytes for image, one in group) for key, group in self._cached.items()}
        excess = sum(sizes.values()) - max_bytes
        for key, size in sizes.items():
            if excess <= 0:
                return
            del self._cached[key]
            excess -= size

    def _compute(self, new: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        import torch

        device = self._device or self._model.device
        pixel_values = torch.cat([image for image, _ in new]).to(device)
        with torch.no_grad():
            output = self._model.get_image_features(
                pixel_values, torch.stack([grid for _, grid in new]).to(device), return_dict=True
            )
        deepstack = getattr(output, "deepstack_features", None) or []
        for i, (image, _) in enumerate(new):
            features = _Features(output, output.pooler_output[i], [layer[i] for layer in deepstack])
            self._cached.setdefault(_digest(image), []).append((image, features))

    def _find(self, image: torch.Tensor) -> _Features | None:
        import torch

        key = _digest(image)
        for cached, features in self._cached.get(key, ()):
            if cached is image or torch.equal(cached, image):
                self._cached[key] = self._cached.pop(key)
                return features
        return None


def without_adapter(model: Any) -> Any:
    """The Qwen-VL inside a LoRA adapter; the model itself if there is no adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Features:
    """Features of one image: for the input of the language model, and for its first layers (Qwen3-VL)."""

    def __init__(self, output: Any, pooled: torch.Tensor, deepstack: list[torch.Tensor]) -> None:
        self.output_type = type(output)
        self.pooled = pooled
        self.deepstack = deepstack

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.pooled, *self.deepstack))


def _joined(features: Sequence[_Features]) -> Any:
    output = features[0].output_type(pooler_output=tuple(one.pooled for one in features))
    if features[0].deepstack:
        layers = range(len(features[0].deepstack))
        output.deepstack_features = [tuple(one.deepstack[layer] for one in features) for layer in layers]
    return output


def _distinct(images: Sequence[torch.Tensor], grids: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images that are not the same tensor, with their grids."""
    return list({id(image): (image, grid) for image, grid in zip(images, grids, strict=True)}.values())


def _digest(image: torch.Tensor) -> tuple[Any, ...]:
    """Equal for equal images, and rarely for others."""
    return (*image.shape, float(image[::61].sum()))
