"""Qwen-VL models on disk: loading, creating small ones, and saving so that stock tools load them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.loading import Precision, kind_of, load_checkpoint
from thinkseg.models.policies.qwen.encoder import END_OF_TURN, IMAGE_PAD, Encoder
from thinkseg.types import Coordinates, View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    IMAGE_PAD,
    "<|video_pad|>",
)

# The part of Qwen's chat template that dialogues of texts and images use.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

MODEL_CLASSES = {
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
}
PROCESSOR_CLASSES = {"qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
COORDINATES: dict[str, Coordinates] = {"qwen2_5_vl": "pixels", "qwen3_vl": "normalized_1000"}
"""How each kind of model was taught to write boxes."""

VIEW_FILE = "thinkseg.json"
DEFAULT_VIEW = View(num_frames=16, frame_wh=(560, 560), overview_wh=(448, 448), closeup_wh=(840, 840))
"""How a checkpoint that does not say is shown videos: in the sizes of Veason-R1 and, for two turns, of ReVSeg."""

_SIZES = ("frame_wh", "overview_wh", "closeup_wh")


def load_model(name: str | Path, precision: Precision = "auto", device: str = "cpu") -> PreTrainedModel:
    """A Qwen2.5-VL or Qwen3-VL from a folder or hub name, ready to be run. Raises ModelError saying what is missing.

    precision: "auto" keeps what the checkpoint was saved in on a GPU, and computes in fp32 on a CPU.
    """
    return load_checkpoint(name, MODEL_CLASSES, "policies", precision, device)


def model_type(name: str | Path) -> str:
    """The `model_type` of a checkpoint. Raises ModelError if there is none or it is not one of ours."""
    return kind_of(name, MODEL_CLASSES, "policies")


def create_model(vision: Mapping[str, Any], text: Mapping[str, Any], tokenizer: Any, seed: int) -> PreTrainedModel:
    """A Qwen2.5-VL with fresh weights, sized by the two halves of its configuration, for a tokenizer of ours.

    Raises SettingsError for a setting that there is not, or that cannot be.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    for half, settings, needed in (
        ("vision", vision, {"hidden_size", "num_heads", "patch_size"}),
        ("text", text, {"hidden_size", "num_attention_heads"}),
    ):
        known = {spec.name for spec in fields(Qwen2_5_VLConfig.sub_configs[f"{half}_config"])}
        if wrong := (settings.keys() - known) or (needed - settings.keys()):
            raise SettingsError(f"the {half} half of a model: {sorted(wrong)[0]!r} is unknown, or needed and missing")
    token = tokenizer.convert_tokens_to_ids
    head = text["hidden_size"] // text["num_attention_heads"]
    section = [head // 2 - 2 * (3 * head // 16), 3 * head // 16, 3 * head // 16]
    try:
        config = Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section},
                "bos_token_id": token("<|endoftext|>"),
                "eos_token_id": token(END_OF_TURN),
                "pad_token_id": token("<|endoftext|>"),
                "tie_word_embeddings": True,
                **text,
            },
            vision_config={"out_hidden_size": text["hidden_size"], **vision},
            image_token_id=token(IMAGE_PAD),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
            tie_word_embeddings=True,
        )
    except StrictDataclassError as error:
        raise SettingsError(f"no such model can be: {' '.join(str(error).split())}") from None
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token(END_OF_TURN)
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


def create_tokenizer(corpus: Sequence[str], vocab_size: int, whole_numbers: int, tenths: int) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens and chat template, learned from a corpus.

    Any text can be written with it. Each of the numbers 0..whole_numbers is one token, which makes coordinates easy.
    So is each of the decimals 0.0, 0.1, ... below tenths / 10, which makes timestamps easy.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Regex(r"\p{N}{1,3}(?:\.\p{N}(?!\p{N}))?| ?[\p{L}_]+| ?[^\s\p{L}\p{N}_]+ ?|\s+")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Numbers and roles are repeated until every one of them outweighs the rarest word.
    decimals = [f"{n // 10}.{n % 10}" for n in range(tenths)]
    always = "\n".join(["user", "assistant", *map(str, range(whole_numbers + 1)), *decimals])
    tokenizer.train_from_iterator([*corpus, *[always] * max(50, len(corpus) // 20)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def create_encoder(tokenizer: Any, vision: Mapping[str, Any]) -> Encoder:
    """The encoder of a created model: patches as its vision tower wants them, at any size."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    merge = vision.get("spatial_merge_size", 2)
    side = vision["patch_size"] * merge
    processor = Qwen2VLImageProcessorPil(
        patch_size=vision["patch_size"],
        merge_size=merge,
        size={"shortest_edge": side * side, "longest_edge": 1280 * side * side},
    )
    return Encoder(tokenizer, processor)


def save(model: PreTrainedModel, encoder: Encoder, folder: Path, view: View) -> None:
    """Writes a checkpoint in the ordinary layout: stock `transformers` and vLLM load it, as does `load_model`.

    The class names written are the stock ones, and the video half of the preprocessor, which ThinkSeg does not use,
    is written too, because stock `AutoProcessor` asks for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    kind = model.config.model_type
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": PROCESSOR_CLASSES[kind]}
    video = {k: v for k, v in settings.items() if k not in ("image_processor_type", "data_format")}
    video |= {"video_processor_type": "Qwen2VLVideoProcessor" if kind == "qwen2_5_vl" else "Qwen3VLVideoProcessor"}
    for name, content in (("preprocessor_config.json", settings), ("video_preprocessor_config.json", video)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    save_view(folder, view)


def save_view(folder: Path, view: View) -> None:
    """Records how a checkpoint was trained to be shown videos."""
    sizes = {name: list(size) for name in _SIZES if (size := getattr(view, name))}
    content = {"num_frames": view.num_frames, **sizes}
    (folder / VIEW_FILE).write_text(json.dumps({"view": content}, indent=2) + "\n")


def load_view(name: str | Path) -> View:
    """How a checkpoint likes to be shown videos: what `save_view` wrote, else `DEFAULT_VIEW`."""
    coordinates = COORDINATES[model_type(name)]
    path = Path(name) / VIEW_FILE
    if not path.is_file():
        return replace(DEFAULT_VIEW, coordinates=coordinates)
    try:
        recorded = json.loads(path.read_text())["view"]
        sizes: dict[str, Any] = {
            name: _size(recorded[name]) for name in _SIZES if name == "frame_wh" or name in recorded
        }
        view = View(int(recorded["num_frames"]), coordinates=coordinates, **sizes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a view as `save_view` writes it: {error!r}") from None
    for width, height in sizes.values():
        if min(view.num_frames, width, height) < 1:
            raise ModelError(f"{path}: {view.num_frames} frames of {width}x{height} cannot be shown")
    return view


def _size(sides: Any) -> tuple[int, int]:
    width, height = map(int, sides)
    return width, height


def supports_bf16(device: str) -> bool:
    """Whether bf16 arithmetic is quick on a device, not merely possible."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: str, bf16: bool) -> torch.autocast:
    import torch

    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=bf16)
