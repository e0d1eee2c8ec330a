"""A Qwen-VL model in this process as a policy: dialogues in, replies out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.answering import Answering, Drawing
from thinkseg.models.checkpoint import is_out_of_memory
from thinkseg.models.encoder import Encoder
from thinkseg.models.generation import Engine, mixed_seed
from thinkseg.models.qwen import Precision, load_model, load_view
from thinkseg.types import Dialogue, Reply, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn. A checkpoint's own generation settings are not used, so that runs compare.

    temperature: 0 takes the likeliest token each time. seed: makes sampled replies repeatable, call by call.
    """

    temperature: float = 0.0
    max_new_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < float("inf") and self.max_new_tokens >= 1 and self.seed >= 0):
            raise SettingsError("sampling: temperature and seed are at least 0, and max_new_tokens at least 1")


class QwenPolicy:
    """Answers turns with a Qwen2.5-VL or Qwen3-VL; see `thinkseg.types.Policy`.

    A second turn is read on top of the first, which the model still remembers (`thinkseg.models.answering`).

    Load one with `QwenPolicy.load`, or wrap a model that is being trained.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        view: View,
        name: str = "policy",
        sampling: Sampling | None = None,
    ) -> None:
        self.model: Any = model
        self.encoder = encoder
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = encoder.size_multiple
        self.name = name
        self.sampling = sampling or Sampling()
        self._calls = 0
        self._engine = Engine(model, encoder, ends=self._ends())
        self._answering = Answering(self._engine, Drawing(self.sampling.temperature, self.sampling.max_new_tokens))

    @classmethod
    def load(
        cls, name: str | Path, precision: Precision = "auto", device: str | None = None, **sampling: Any
    ) -> QwenPolicy:
        """Loads a folder or hub name. device: "cpu", "cuda", "cuda:1", ...; a GPU if there is one unless given."""
        import torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        settings = Sampling(**sampling)
        view = load_view(name)
        encoder = Encoder.load(name)
        return cls(load_model(name, precision, device), encoder, view, str(name), settings)

    def reply(self, dialogues: Sequence[Dialogue]) -> list[Reply]:
        """Answers the last turn of each dialogue, all in one batch. Raises ModelError when memory does not suffice."""
        if not dialogues:
            return []
        import torch

        self._calls += 1
        try:
            with torch.no_grad():
                return self._answering.reply(dialogues, self._generator())
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self.name}: out of memory with {len(dialogues)} dialogues: "
                "use a smaller batch, fewer or smaller frames"
            ) from None
        finally:
            self._engine.vision.forget()

    def _generator(self) -> torch.Generator | None:
        """Random numbers of this call's own, where any are drawn; those of the caller go on undisturbed."""
        import torch

        if self.sampling.temperature == 0:
            return None
        return torch.Generator(self.model.device).manual_seed(mixed_seed(self.sampling.seed, self._calls))

    def _ends(self) -> list[int]:
        """What ends a reply: the end of a turn, and whatever else the checkpoint names. (Qwen2.5-VL names two.)"""
        own = self.model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own]
        return sorted({self.encoder.end_id, *(i for i in own if i is not None)})
