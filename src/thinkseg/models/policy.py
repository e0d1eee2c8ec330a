"""A Qwen-VL model in this process as a policy: dialogues in, replies out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.encoder import Encoded, Encoder
from thinkseg.models.qwen import Precision, load_model, load_view
from thinkseg.types import Dialogue, Reply, View

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel


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
        import torch

        if not dialogues:
            return []
        prompts = [self.encoder.encode(dialogue) for dialogue in dialogues]
        self._calls += 1
        try:
            with torch.inference_mode(), self._seeded(), self._sole_settings() as settings:
                batch = self._batch(prompts)
                written = self.model.generate(**batch, generation_config=settings)
        except RuntimeError as error:
            # A GPU's lack of memory has a type of its own, a CPU's does not.
            if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
                raise
            raise ModelError(
                f"{self.name}: out of memory with {len(prompts)} dialogues, the longest of"
                f" {max(len(p.ids) for p in prompts):,} tokens; use a smaller batch, fewer or smaller frames"
            ) from None
        return [self._read(ids) for ids in written[:, batch["input_ids"].shape[1] :].tolist()]

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Random numbers of this call's own, where any are drawn; those of the caller go on undisturbed."""
        import torch

        if self.sampling.temperature == 0:
            yield
            return
        # Mixed, not added: call 2 of seed 0 must not be call 1 of seed 1.
        seed = int(np.random.SeedSequence([self.sampling.seed, self._calls]).generate_state(1)[0])
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield

    @contextmanager
    def _sole_settings(self) -> Iterator[GenerationConfig]:
        """The settings to generate with, and nothing beside them.

        `generate` fills in what it is not told from the checkpoint's settings, and Qwen's own ones penalise repetition.
        """
        from transformers import GenerationConfig

        settings, own = self._generation(), self.model.generation_config
        self.model.generation_config = GenerationConfig()
        try:
            yield settings
        finally:
            self.model.generation_config = own

    def _read(self, ids: list[int]) -> Reply:
        ends = [i for i, token in enumerate(ids) if token in self._ends()]
        said = ids[: ends[0]] if ends else ids
        text = self.encoder.tokenizer.decode(said, skip_special_tokens=True)
        return Reply(text, num_tokens=len(said), truncated=not ends)

    def _ends(self) -> list[int]:
        own = self.model.generation_config.eos_token_id
        own = own if isinstance(own, list) else [own]
        return sorted({self.encoder.end_id, *(i for i in own if i is not None)})

    def _generation(self) -> GenerationConfig:
        from transformers import GenerationConfig

        drawn: dict[str, Any] = {"do_sample": False}
        if self.sampling.temperature > 0:
            drawn = {"do_sample": True, "temperature": self.sampling.temperature, "top_k": 0, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=self.sampling.max_new_tokens,
            eos_token_id=self._ends(),
            pad_token_id=self._pad(),
            suppress_tokens=[i for i in self.encoder.suppressed_ids() if i not in self._ends()],
            **drawn,
        )

    def _pad(self) -> int:
        pad = self.encoder.tokenizer.pad_token_id
        return self.encoder.end_id if pad is None else pad

    def _batch(self, prompts: list[Encoded]) -> dict[str, torch.Tensor]:
        """Prompts padded on the left, as `generate` continues them on the right."""
        import torch

        longest = max(len(p.ids) for p in prompts)
        ids = torch.full((len(prompts), longest), self._pad())
        seen = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt.ids) :] = torch.from_numpy(prompt.ids)
            seen[row, longest - len(prompt.ids) :] = 1
        batch = {
            "input_ids": ids,
            "attention_mask": seen,
            "mm_token_type_ids": (ids == self.encoder.image_pad_id).int(),
        }
        if any(len(p.grids) for p in prompts):
            batch["pixel_values"] = torch.cat([p.pixels for p in prompts]).to(self.model.dtype)
            batch["image_grid_thw"] = torch.cat([p.grids for p in prompts])
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}
