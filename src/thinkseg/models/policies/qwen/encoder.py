"""Encodes dialogues for Qwen-VL models: token ids, image patches, position ids and, for training, labels.

Training, rollouts and inference all use this module, so that they encode a prompt alike. It loads the tokenizer and the
image processor directly: `AutoProcessor` would need torchvision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import ModelError
from thinkseg.models.hub import model_folder, quiet_libraries
from thinkseg.models.model_files import read_config, read_object, reading
from thinkseg.models.policies.qwen.chat_template import CHAT_TEMPLATE, END_OF_TURN, IMAGE_PAD, REPLY, ChatTemplate
from thinkseg.models.policies.qwen.template_check import check_template
from thinkseg.types import Dialogue, Turn

if TYPE_CHECKING:
    import torch

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

    token_ids: with the end of the turn, unless the reply was truncated; without the start of the reply that the prompt
    contains (`ChatTemplate.opening`).
    logprobs: of each token, under the distribution of another engine that it was sampled from; None for this process.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None

    def __new__(
        cls, text: str, token_ids: Sequence[int] = (), logprobs: Sequence[float] | None = None
    ) -> GeneratedText:
        generated = super().__new__(cls, text)
        generated.token_ids = tuple(token_ids)
        generated.logprobs = None if logprobs is None else tuple(logprobs)
        return generated


class Encoder:
    """Encodes dialogues for one model.

    tokenizer: a transformers tokenizer with a chat template and Qwen's vision tokens.
    image_processor: a `Qwen2VLImageProcessorPil`; images are expected at their final size and never resized by it.
    Raises ModelError for a chat template that dialogues cannot be encoded with.
    """

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.template = ChatTemplate(tokenizer)
        self.image_pad_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self.end_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
        self.pad_id: int = self.end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        control = "|".join(map(re.escape, {*self._control_tokens().values(), REPLY}))
        # A lookahead also finds a token that begins within another.
        self._control = re.compile(f"(?={control}).", re.DOTALL)
        self.merge = int(image_processor.merge_size)
        self.size_multiple = int(image_processor.patch_size) * self.merge

    @classmethod
    def load(cls, name: str | Path) -> Encoder:
        """Loads from a folder or hub name. Raises ModelError if the files are missing or not those of a Qwen-VL."""
        from transformers import AutoTokenizer
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        folder = model_folder(name, weights=False)
        read_config(folder)
        with reading(name, "load tokenizer or image processor"), quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
            vocabulary = tokenizer.get_vocab()
        for token in (IMAGE_PAD, END_OF_TURN):
            if token not in vocabulary:
                raise ModelError(f"{name}: the tokenizer has no {token} token; give a Qwen2.5-VL or Qwen3-VL")
        tokenizer.chat_template = _template(name, tokenizer.chat_template or _legacy_template(folder))
        tokenizer.name_or_path = str(name)
        with reading(name, "prepare a test image"):
            encoder = cls(tokenizer, image_processor)
            encoder.encode((encoder.test_turn(),))
        return encoder

    def test_turn(self) -> Turn:
        """A turn with the smallest image, to try a model with."""
        return Turn(("0.0 s:", np.full((self.size_multiple, self.size_multiple, 3), 128, np.uint8), "What is it?"))

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

    def token_ids(self, dialogue: Dialogue) -> np.ndarray:
        """The `input_ids` of `EncodedDialogue` alone, without the patches of its images."""
        area = self.size_multiple**2
        return self._tokens(dialogue, [image.shape[0] * image.shape[1] // area for image in _images(dialogue)])[0]

    def _tokens(self, dialogue: Dialogue, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and labels. sizes: visual tokens per image in reading order."""
        ids: list[int] = []
        labels: list[int] = []
        remaining = iter(sizes)
        turns, replies = dialogue[::2], dialogue[1::2]
        for number, reply in enumerate((*replies, None)[: len(turns)], start=1):
            text = self.template.prompt([self._escaped_turn(turn) for turn in turns[:number]])
            if ids and ids[-1] == self.end_id:
                text = text.removeprefix(END_OF_TURN)
            prompt = self.tokenizer(self._expand(text, remaining), add_special_tokens=False)["input_ids"]
            reply_ids = [] if reply is None else self._reply_ids(reply)
            ids += prompt + reply_ids
            labels += [IGNORED] * len(prompt) + reply_ids
        return np.array(ids, np.int64), np.array(labels, np.int64)

    def _reply_ids(self, reply: Turn | str) -> list[int]:
        """The token ids of a reply after its prompt: the generated ones if it has them."""
        assert isinstance(reply, str)
        if isinstance(reply, GeneratedText):
            return list(reply.token_ids)  # none of which is a control token
        return [*self.content_ids(reply), self.end_id]

    def content_ids(self, reply: str) -> list[int]:
        """The token ids of the text of a reply after its prompt, without the end of the turn."""
        text = self.template.continuation(self._escaped(reply))
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """Decodes tokens, without control tokens."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def generated_text(
        self, token_ids: Sequence[int], content_ids: Sequence[int], logprobs: Sequence[float] | None = None
    ) -> GeneratedText:
        """A reply with its text, including the start that the chat template put into the prompt.

        content_ids: `token_ids` without the end of the turn. logprobs: see `GeneratedText`.
        """
        return GeneratedText(self.template.opening + self.text(content_ids), token_ids, logprobs)

    def _escaped(self, text: str) -> str:
        """Splits the control tokens of this tokenizer, so that a text cannot end its turn or add an image."""
        return self._control.sub(lambda found: f"{found[0]} ", text)

    def _escaped_turn(self, turn: Turn | str) -> Turn:
        assert isinstance(turn, Turn)
        return Turn(tuple(self._escaped(part) if isinstance(part, str) else part for part in turn.content))

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


def _template(name: str | Path, template: Any) -> str:
    """The chat template of a tokenizer, the default one of several. Raises ModelError without a usable one."""
    template = template.get("default") if isinstance(template, dict) else template
    if not isinstance(template, str) or not template:
        raise ModelError(f"{name}: no chat template (chat_template.jinja); give an instruction-tuned model")
    if template != CHAT_TEMPLATE:
        check_template(name, template)
    return template


def _legacy_template(folder: Path) -> Any:
    """The chat template of an early checkpoint, which has it in chat_template.json."""
    path = folder / "chat_template.json"
    if not path.exists():
        return None
    content = read_object(path)
    if "chat_template" not in content:
        raise ModelError(f"{path}: not a chat template: it has no field chat_template")
    return content["chat_template"]
