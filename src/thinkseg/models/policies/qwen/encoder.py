"""Encodes dialogues for Qwen-VL models: token ids, image patches, position ids and, for training, labels.

Training, rollouts and inference all use this module, so that they encode a prompt alike. It loads the tokenizer and the
image processor directly: `AutoProcessor` would need torchvision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import ModelError
from thinkseg.models.loading import first_line
from thinkseg.types import Dialogue, Turn

if TYPE_CHECKING:
    import torch

IMAGE_PAD = "<|image_pad|>"
END_OF_TURN = "<|im_end|>"
IGNORED = -100
"""Label of tokens that are not trained on, the default `ignore_index` of `torch.nn.functional.cross_entropy`."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedDialogue:
    """One dialogue of L tokens.

    input_ids: int64 (L,). labels: int64 (L,), the token id in replies and `IGNORED` elsewhere.
    position_ids: int64 (3, L), temporal, vertical and horizontal rotary positions (M-RoPE).
    images: float32 (patches, patch values) per image in reading order. image_grid_thw: int64 (images, 3), patches along
        time, height and width.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    images: tuple[torch.Tensor, ...]
    image_grid_thw: torch.Tensor

    @property
    def pixel_values(self) -> torch.Tensor:
        """The patches of all images, (patches, patch values)."""
        return concat_images(self.images)


class GeneratedText(str):
    """A reply with its token ids, because the tokenizer may split the same text in another way.

    token_ids: with the end of the turn, unless the reply was truncated.
    """

    token_ids: tuple[int, ...]

    def __new__(cls, text: str, token_ids: Sequence[int] = ()) -> GeneratedText:
        generated = super().__new__(cls, text)
        generated.token_ids = tuple(token_ids)
        return generated


class Encoder:
    """Encodes dialogues for one model.

    tokenizer: a transformers tokenizer with a chat template and Qwen's vision tokens.
    image_processor: a `Qwen2VLImageProcessorPil`; images are expected at their final size and never resized by it.
    """

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.image_pad_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self.end_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
        self.pad_id: int = self.end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._control = re.compile("|".join(map(re.escape, self._control_tokens().values())))
        self.merge = int(image_processor.merge_size)
        self.size_multiple = int(image_processor.patch_size) * self.merge

    @classmethod
    def load(cls, name: str | Path) -> Encoder:
        """Loads from a folder or hub name. Raises ModelError if the files are missing or not those of a Qwen-VL."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoTokenizer
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            image_processor = Qwen2VLImageProcessorPil.from_pretrained(name)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, StrictDataclassError) as error:
            # Invalid JSON files raise all of these types.
            raise ModelError(f"{name}: cannot load tokenizer or image processor: {first_line(error)}") from None
        if IMAGE_PAD not in tokenizer.get_vocab():
            raise ModelError(f"{name}: the tokenizer has no {IMAGE_PAD} token; give a Qwen2.5-VL or Qwen3-VL")
        tokenizer.chat_template = tokenizer.chat_template or _legacy_template(name)
        if not tokenizer.chat_template:
            raise ModelError(f"{name}: no chat template (chat_template.jinja); give an instruction-tuned model")
        return cls(tokenizer, image_processor)

    def suppressed_ids(self) -> list[int]:
        """Control tokens that must not be sampled: all but the end of turn. Vision tokens crash the next forward."""
        return sorted(self._control_tokens().keys() - {self.end_id})

    def _control_tokens(self) -> dict[int, str]:
        """Tokens that structure a dialogue, by id. Ordinary added tokens, as `<think>` of Qwen3, are not among them."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {i: t.content for i, t in added if t.special or t.content.startswith("<|")}

    def patches(self, images: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """`pixel_values` and `image_grid_thw` of images, uint8 RGB (H, W, 3); see `EncodedDialogue`.

        Raises ModelError for sides that are not multiples of `size_multiple`.
        """
        import torch

        for image in images:
            if image.shape[0] % self.size_multiple or image.shape[1] % self.size_multiple:
                size = f"{image.shape[1]}x{image.shape[0]}"
                raise ModelError(f"image of {size}: both sides must be multiples of {self.size_multiple}")
        if not images:
            values = 3 * self.image_processor.temporal_patch_size * self.image_processor.patch_size**2
            return torch.empty(0, values), torch.empty(0, 3, dtype=torch.long)
        batch = self.image_processor(
            list(images), do_resize=False, return_tensors="pt", input_data_format="channels_last"
        )
        return batch["pixel_values"], batch["image_grid_thw"]

    def encode(self, dialogue: Dialogue) -> EncodedDialogue:
        """Encodes a prompt, which ends with a turn, or a training example, which ends with a reply."""
        return self.encode_group([dialogue])[0]

    def encode_group(self, dialogues: Sequence[Dialogue]) -> list[EncodedDialogue]:
        """Encodes dialogues. An image that they share (the same array) is converted to patches once."""
        images = {id(image): image for dialogue in dialogues for image in _images(dialogue)}
        pixel_values, grids = self.patches(list(images.values()))
        patches = pixel_values.split(grids.prod(-1).tolist())
        indices = {name: index for index, name in enumerate(images)}
        encoded = []
        for dialogue in dialogues:
            own = [indices[id(image)] for image in _images(dialogue)]
            ids, labels = self._tokens(dialogue, [len(patches[index]) // self.merge**2 for index in own])
            positions = rotary_positions(ids == self.image_pad_id, grids[own].numpy(), self.merge)
            encoded.append(EncodedDialogue(ids, labels, positions, tuple(patches[i] for i in own), grids[own]))
        return encoded

    def _tokens(self, dialogue: Dialogue, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and labels. sizes: visual tokens per image in reading order."""
        ids: list[int] = []
        labels: list[int] = []
        rendered = ""
        remaining = iter(sizes)
        dialogue = tuple(self._escape(part) for part in dialogue)
        for end in range(1, len(dialogue) + 1, 2):
            text = self._render(dialogue[:end])
            if not text.startswith(rendered):
                raise ModelError("the chat template changes earlier turns; give a model whose template only appends")
            added = self._expand(text[len(rendered) :], remaining)
            prompt = self.tokenizer(added, add_special_tokens=False)["input_ids"]
            ids += prompt
            labels += [IGNORED] * len(prompt)
            rendered = text
            if end < len(dialogue):
                reply = dialogue[end]
                assert isinstance(reply, str)
                reply_ids = self._reply_ids(reply)
                ids += reply_ids
                labels += reply_ids
                rendered += reply + END_OF_TURN
        return np.array(ids, np.int64), np.array(labels, np.int64)

    def _reply_ids(self, reply: str) -> list[int]:
        """The token ids of a reply: the generated ones if it has them."""
        if isinstance(reply, GeneratedText):
            return list(reply.token_ids)
        return [*self.tokenizer(reply, add_special_tokens=False)["input_ids"], self.end_id]

    def text(self, tokens: Sequence[int]) -> str:
        """Decodes tokens, without control tokens."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def _escape(self, part: Turn | str) -> Turn | str:
        """Splits control tokens in the texts of a part, so that a query cannot end its turn or add an image."""

        def escaped(text: str) -> str:
            return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

        if isinstance(part, GeneratedText):
            return part  # encoded by its token ids, none of which is a control token
        if isinstance(part, str):
            return escaped(part)
        return Turn(tuple(escaped(p) if isinstance(p, str) else p for p in part.content))

    def _render(self, dialogue: Dialogue) -> str:
        messages = [_message(part) for part in dialogue]
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _expand(self, text: str, sizes: Any) -> str:
        """Repeats the placeholder of each image once per visual token."""
        head, *tails = text.split(IMAGE_PAD)
        return head + "".join(IMAGE_PAD * next(sizes) + tail for tail in tails)


def concat_images(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenates the patches of images; without images, an empty tensor that `torch.cat` accepts with any other."""
    import torch

    return torch.cat(list(images)) if images else torch.empty(0)


def spans(mask: np.ndarray) -> np.ndarray:
    """The runs of True in a mask, bool (L,), as start and exclusive end, int64 (runs, 2)."""
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)


def rotary_positions(is_image: np.ndarray, grids: np.ndarray, merge: int) -> np.ndarray:
    """M-RoPE positions of a sequence, int64 (3, L), equal to `get_rope_index` of the models.

    is_image: bool (L,). grids: int64 (images, 3). A text token takes the next position on all three axes. An image
    spans height and width from there, and the next token comes after its longer side.
    """
    positions = np.empty((3, len(is_image)), np.int64)
    position = at = 0
    for (start, end), (_, height, width) in zip(spans(is_image), grids, strict=True):
        positions[:, at:start] = np.arange(position, position + start - at)
        position += start - at
        rows, columns = int(height) // merge, int(width) // merge
        positions[0, start:end] = position
        positions[1, start:end] = position + np.repeat(np.arange(rows), columns)
        positions[2, start:end] = position + np.tile(np.arange(columns), rows)
        position += max(rows, columns)
        at = end
    positions[:, at:] = np.arange(position, position + len(is_image) - at)
    return positions


def _images(dialogue: Dialogue) -> list[np.ndarray]:
    return [image for part in dialogue if isinstance(part, Turn) for image in part.images]


def _message(part: Turn | str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"role": "assistant", "content": [{"type": "text", "text": part}]}
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in part.content]
    return {"role": "user", "content": content}


def _legacy_template(name: str | Path) -> str | None:
    """The chat template of an early checkpoint, which has it in chat_template.json."""
    from transformers.utils import cached_file

    path = cached_file(name, "chat_template.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["chat_template"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{path}: not a chat template: {first_line(error)}") from None
