"""From a dialogue to what a Qwen-VL model reads: token ids, image patches, positions and, for training, labels.

Training, rollouts and inference all go through this one module, so they can never disagree about a prompt. It needs a
folder (or hub name) in the ordinary layout, and no torchvision: the tokenizer and the image processor are loaded
directly instead of through `AutoProcessor`.
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
"""Label of tokens that are not trained on, as `torch.nn.functional.cross_entropy` knows it."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedDialogue:
    """One dialogue as numbers.

    ids: int64 (L,); labels: int64 (L,), the id where the model's own words stand and `IGNORED` elsewhere.
    positions: int64 (3, L), the temporal, vertical and horizontal rotary positions (M-RoPE).
    images: float32 (patches, patch values) of each image in reading order; grids: int64 (images, 3), patches of each
        along time, height and width.
    """

    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    images: tuple[torch.Tensor, ...]
    grids: torch.Tensor

    @property
    def pixels(self) -> torch.Tensor:
        """The patches of all images as the model takes them, (patches, patch values)."""
        return joined(self.images)


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
        # What stands where nobody looks; any token does.
        self.pad_id: int = self.end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._control = re.compile("|".join(map(re.escape, self._control_tokens().values())))
        self.merge = int(image_processor.merge_size)
        self.size_multiple = int(image_processor.patch_size) * self.merge

    @classmethod
    def load(cls, name: str | Path) -> Encoder:
        """Loads from a folder or hub name. Raises ModelError if it is not that of a Qwen-VL model."""
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoTokenizer
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            image_processor = Qwen2VLImageProcessorPil.from_pretrained(name)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, StrictDataclassError) as error:
            # What broken JSON files make the loaders stumble over is of all these types.
            raise ModelError(f"{name}: no tokenizer or image processor could be loaded: {first_line(error)}") from None
        if IMAGE_PAD not in tokenizer.get_vocab():
            raise ModelError(f"{name}: the tokenizer has no {IMAGE_PAD} token; a Qwen2.5-VL or Qwen3-VL is needed")
        tokenizer.chat_template = tokenizer.chat_template or _legacy_template(name)
        if not tokenizer.chat_template:
            raise ModelError(f"{name}: no chat template (chat_template.jinja); a base model cannot be asked questions")
        return cls(tokenizer, image_processor)

    def suppressed_ids(self) -> list[int]:
        """Special tokens that must not be sampled: all but the end of turn. (Vision tokens crash the next forward.)"""
        return sorted(self._control_tokens().keys() - {self.end_id})

    def _control_tokens(self) -> dict[int, str]:
        """Tokens that structure a dialogue instead of being words of it, by id. (`<think>` of Qwen3 is a word.)"""
        added = self.tokenizer.added_tokens_decoder.items()
        return {i: t.content for i, t in added if t.special or t.content.startswith("<|")}

    def patches(self, images: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images, uint8 RGB, as (pixels, grids), see `EncodedDialogue`.

        Raises ModelError for sizes the model cannot see.
        """
        import torch

        for image in images:
            if image.shape[0] % self.size_multiple or image.shape[1] % self.size_multiple:
                size = f"{image.shape[1]}x{image.shape[0]}"
                raise ModelError(f"an image of {size} was sent to a model that needs multiples of {self.size_multiple}")
        if not images:
            values = 3 * self.image_processor.temporal_patch_size * self.image_processor.patch_size**2
            return torch.empty(0, values), torch.empty(0, 3, dtype=torch.long)
        batch = self.image_processor(
            list(images), do_resize=False, return_tensors="pt", input_data_format="channels_last"
        )
        return batch["pixel_values"], batch["image_grid_thw"]

    def encode(self, dialogue: Dialogue) -> EncodedDialogue:
        """A dialogue that ends with a turn becomes a prompt; one that ends with a reply, a training example."""
        return self.encode_group([dialogue])[0]

    def encode_group(self, dialogues: Sequence[Dialogue]) -> list[EncodedDialogue]:
        """Encodes dialogues; of an image that several of them show (the very same array), patches are made once."""
        images = {id(image): image for dialogue in dialogues for image in _images(dialogue)}
        pixels, grids = self.patches(list(images.values()))
        parts = pixels.split(grids.prod(-1).tolist())
        places = {name: place for place, name in enumerate(images)}
        encoded = []
        for dialogue in dialogues:
            own = [places[id(image)] for image in _images(dialogue)]
            ids, labels = self._tokens(dialogue, [len(parts[place]) // self.merge**2 for place in own])
            positions = rotary_positions(ids == self.image_pad_id, grids[own].numpy(), self.merge)
            encoded.append(EncodedDialogue(ids, labels, positions, tuple(parts[place] for place in own), grids[own]))
        return encoded

    def _tokens(self, dialogue: Dialogue, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and labels; `sizes` are the numbers of visual tokens of the images in reading order."""
        ids: list[int] = []
        labels: list[int] = []
        written = ""
        remaining = iter(sizes)
        dialogue = tuple(self._harmless(part) for part in dialogue)
        for end in range(1, len(dialogue) + 1, 2):
            text = self._render(dialogue[:end])
            if not text.startswith(written):
                raise ModelError("the chat template rewrites earlier turns, so a dialogue cannot be continued")
            fresh = self._expand(text[len(written) :], remaining)
            prompt = self.tokenizer(fresh, add_special_tokens=False)["input_ids"]
            ids += prompt
            labels += [IGNORED] * len(prompt)
            written = text
            if end < len(dialogue):
                reply = dialogue[end]
                assert isinstance(reply, str)
                said = self._said(reply)
                ids += said
                labels += said
                written += reply + END_OF_TURN
        return np.array(ids, np.int64), np.array(labels, np.int64)

    def _said(self, reply: str) -> list[int]:
        """A reply in tokens: those it was written in, if it knows them."""
        if isinstance(reply, GeneratedText):
            return list(reply.token_ids)
        return [*self.tokenizer(reply, add_special_tokens=False)["input_ids"], self.end_id]

    def text(self, tokens: Sequence[int]) -> str:
        """What a model has said, as text."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def _harmless(self, part: Turn | str) -> Turn | str:
        """A part in whose texts control tokens are only characters: a question cannot end its turn or add an image."""

        def spelt(text: str) -> str:
            return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

        if isinstance(part, GeneratedText):
            return part  # its tokens are what is read, and none of them structures a dialogue
        if isinstance(part, str):
            return spelt(part)
        return Turn(tuple(spelt(p) if isinstance(p, str) else p for p in part.content))

    def _render(self, dialogue: Dialogue) -> str:
        messages = [_message(part) for part in dialogue]
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _expand(self, text: str, sizes: Any) -> str:
        """Each image's one placeholder repeated to the number of its visual tokens."""
        head, *tails = text.split(IMAGE_PAD)
        return head + "".join(IMAGE_PAD * next(sizes) + tail for tail in tails)


def joined(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Patches of images one after another; without any, an empty tensor that joins with any."""
    import torch

    return torch.cat(list(images)) if images else torch.empty(0)


def spans(marked: np.ndarray) -> np.ndarray:
    """Where the marked stretches of a sequence are, bool (L,): int64 (stretches, 2), first place and one past the last.

    An image's places are one, and so are a reply's.
    """
    return np.flatnonzero(np.diff(marked, prepend=False, append=False)).reshape(-1, 2)


def rotary_positions(is_image: np.ndarray, grids: np.ndarray, merge: int) -> np.ndarray:
    """M-RoPE positions of a sequence, int64 (3, L): what the models' own `get_rope_index` gives for images.

    is_image: bool (L,); grids: int64 (images, 3). A text token takes the next position on all three axes; an image
    spreads over height and width from there, and what follows starts after its longer side.
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
    """The chat template of a checkpoint that keeps it beside its tokenizer, in chat_template.json, as early ones do."""
    from transformers.utils import cached_file

    path = cached_file(name, "chat_template.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["chat_template"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{path}: not a chat template: {first_line(error)}") from None
