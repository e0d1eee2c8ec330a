"""Features of images, computed once each: patches in, what the language model sees of them out.

The frames of a prompt are the same for all rollouts of its group, for the reference and, if the vision tower is frozen,
for the update. So they go through the tower once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class ImageFeatureCache:
    """Remembers the features of images until told to forget them: they are worth as long as the tower stays as it is.

    model: a Qwen-VL, as it is or under a LoRA adapter. Features are computed without gradients.
    """

    def __init__(self, model: Any) -> None:
        self._model = without_adapter(model).model
        self._known: dict[tuple[Any, ...], list[tuple[torch.Tensor, _Features]]] = {}

    def features(self, images: Sequence[torch.Tensor], grids: Sequence[torch.Tensor]) -> Any:
        """Of images one after another, as the models take them in `mm_encoder_outputs`.

        images: float32 (patches, patch values) each; grids: int64 (3,) each; see
        `models.policies.qwen.encoder.EncodedDialogue`.
        """
        found = [self._find(image) for image in images]
        missing = [place for place, features in enumerate(found) if features is None]
        if missing:
            self._compute(_distinct([images[place] for place in missing], [grids[place] for place in missing]))
            for place in missing:
                found[place] = self._find(images[place])
        return _joined([features for features in found if features is not None])

    def forget(self) -> None:
        """Lets go of all features."""
        self._known.clear()

    def _compute(self, new: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        import torch

        device = self._model.visual.device
        pixels = torch.cat([image for image, _ in new]).to(device)
        with torch.no_grad():
            output = self._model.get_image_features(
                pixels, torch.stack([grid for _, grid in new]).to(device), return_dict=True
            )
        deeper = getattr(output, "deepstack_features", None) or []
        for place, (image, _) in enumerate(new):
            features = _Features(output, output.pooler_output[place], [layer[place] for layer in deeper])
            self._known.setdefault(_digest(image), []).append((image, features))

    def _find(self, image: torch.Tensor) -> _Features | None:
        import torch

        for known, features in self._known.get(_digest(image), ()):
            if known is image or torch.equal(known, image):
                return features
        return None


def without_adapter(model: Any) -> Any:
    """A Qwen-VL as it is, of one that may be under a LoRA adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Features:
    """What the tower says of one image: for the language model's input, and for its first layers (Qwen3-VL)."""

    def __init__(self, output: Any, pooled: torch.Tensor, deeper: list[torch.Tensor]) -> None:
        self.kind = type(output)
        self.pooled = pooled
        self.deeper = deeper


def _joined(features: Sequence[_Features]) -> Any:
    output = features[0].kind(pooler_output=tuple(one.pooled for one in features))
    if features[0].deeper:
        output.deepstack_features = [
            tuple(one.deeper[layer] for one in features) for layer in range(len(features[0].deeper))
        ]
    return output


def _distinct(images: Sequence[torch.Tensor], grids: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images that are not the very same tensor, with their grids."""
    return list({id(image): (image, grid) for image, grid in zip(images, grids, strict=True)}.values())


def _digest(image: torch.Tensor) -> tuple[Any, ...]:
    """Equal for equal images, and seldom for others."""
    return (*image.shape, float(image[::61].sum()))
