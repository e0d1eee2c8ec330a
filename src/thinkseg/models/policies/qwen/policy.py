"""A local Qwen-VL model as a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.loading import is_out_of_memory
from thinkseg.models.policies.qwen.checkpoint import Precision, load, load_view
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Dialogue, Reply, ReplyListener, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class QwenPolicy:
    """Answers turns with a Qwen2.5-VL or Qwen3-VL; see `thinkseg.types.Policy`.

    `QwenPolicy.load` loads a checkpoint; the constructor wraps a model, as one in training.

    feature_cache_bytes: of image features, with their images, that are kept for a next call about the same frames. Keep
        none of a model whose weights change.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        view: View,
        name: str = "policy",
        sampling: SamplingParams | None = None,
        feature_cache_bytes: int = 0,
    ) -> None:
        self.model: Any = model
        self.encoder = encoder
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = encoder.size_multiple
        self.name = name
        self.fingerprint: Mapping[str, str] = {}
        self.sampling = sampling or SamplingParams()
        self.feature_cache_bytes = feature_cache_bytes
        self._engine = Engine(model, encoder, ends=self._ends())
        self._generator = ChatGenerator(self._engine, self.sampling)

    @classmethod
    def load(
        cls,
        name: str | Path,
        precision: Precision = "auto",
        device: str | None = None,
        feature_cache_bytes: int = 0,
        **sampling: Any,
    ) -> QwenPolicy:
        """Loads a folder or hub name.

        device: "cpu", "cuda", "cuda:1", ... (default: a GPU if there is one). feature_cache_bytes: see the class.
        sampling: fields of `SamplingParams`.
        Raises ModelError or SettingsError.
        """
        params = SamplingParams(**sampling)
        view = load_view(name)
        policy = cls(*load(name, precision, device), view, str(name), params, feature_cache_bytes)
        policy.fingerprint = checkpoint_fingerprint(name)
        return policy

    @property
    def device(self) -> torch.device:
        return self.model.device

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue in one batch. Raises ModelError if memory is exhausted.

        First turns stay in the KV cache for the turns that follow, until the next call or `clear`.
        """
        return self.stream(dialogues, seeds)

    def stream(
        self,
        dialogues: Sequence[Dialogue],
        seeds: Sequence[int] | None = None,
        listener: ReplyListener | None = None,
    ) -> list[Reply]:
        """Answers like `reply`, and passes the text on token by token. The replies are the same."""
        if not dialogues:
            return []
        import torch

        try:
            with torch.no_grad():
                return self._generator.reply(dialogues, range(len(dialogues)) if seeds is None else seeds, listener)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self.name}: out of memory with {len(dialogues)} dialogues: "
                "use a smaller batch, fewer or smaller frames"
            ) from None
        finally:
            self._engine.vision.trim(self.feature_cache_bytes)

    def clear(self) -> None:
        """Frees the KV cache."""
        self._generator.clear()

    def _ends(self) -> list[int]:
        """Tokens that end a reply: the end of a turn, and those of the checkpoint. Qwen2.5-VL names two."""
        own = self.model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own] * (own is not None)
        if not all(isinstance(token, int) for token in own):
            raise ModelError(f"{self.name}: generation_config.json: eos_token_id is {own!r}; must be integers")
        return sorted({self.encoder.end_id, *own})
