"""Loads, creates and saves Qwen-VL checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.hub import model_folder, without_progress_bars
from thinkseg.models.loading import Precision, load_checkpoint, model_type_of
from thinkseg.models.model_files import check_finite, read_object, reading
from thinkseg.models.policies.qwen.chat_template import CHAT_TEMPLATE, END_OF_TURN, IMAGE_PAD
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.prompts import Prompts
from thinkseg.storage.prompt_file import PROMPTS_FILE, read_prompts, write_prompts
from thinkseg.types import Clock, Coordinates, View

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

MODEL_CLASSES = {
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
}
PROCESSOR_CLASSES = {"qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
COORDINATES: dict[str, Coordinates] = {"qwen2_5_vl": "pixels", "qwen3_vl": "normalized_1000"}
"""How each model type is trained to write boxes."""

VIEW_FILE = "thinkseg.json"
DEFAULT_VIEW = View(num_frames=16, frame_wh=(560, 560), overview_wh=(448, 448), closeup_wh=(840, 840))
"""View of a checkpoint without `VIEW_FILE`, with the sizes of Veason-R1 and, for two turns, of ReVSeg.

It was not trained here, and labels of frames are "auto"."""

LAYERS = {"vision": "depth", "text": "num_hidden_layers"}
"""Fields of the numbers of layers."""

MAX_LAYERS = 1000
"""Layers are created one by one, which takes minutes for a number with a digit too many."""

MAX_VIEW = 4096
"""Most frames and longest side in pixels of a view that a file may request."""

_SIZES = ("frame_wh", "overview_wh", "closeup_wh")


def load_model(name: str | Path, precision: Precision = "auto", device: str | None = "cpu") -> PreTrainedModel:
    """Loads a Qwen2.5-VL or Qwen3-VL; see `thinkseg.models.loading.load_checkpoint`."""
    return load_checkpoint(name, MODEL_CLASSES, "policies", precision, device)


def load(name: str | Path, precision: Precision = "auto", device: str | None = "cpu") -> tuple[Any, Encoder]:
    """Loads a model with its encoder, and tries them with a small image.

    Raises ModelError if they do not fit each other or cannot be run; see `load_model`.
    """
    encoder = Encoder.load(name)
    model = load_model(name, precision, device)
    _check_fit(name, model.config, encoder)
    with reading(name, "reply to a test image"):
        finite = bool(_test_logits(model, encoder).isfinite().all())
    check_finite(name, finite)
    return model, encoder


def _check_fit(name: str | Path, config: Any, encoder: Encoder) -> None:
    """Raises ModelError if a model and an encoder are of different models."""
    vision, processor = config.vision_config, encoder.image_processor
    pairs = {
        f"id of {IMAGE_PAD}": (config.image_token_id, encoder.image_pad_id),
        "patch size": (vision.patch_size, processor.patch_size),
        "merged patches": (vision.spatial_merge_size, processor.merge_size),
        "frames per patch": (vision.temporal_patch_size, processor.temporal_patch_size),
    }
    for what, (of_model, of_encoder) in pairs.items():
        if of_model != of_encoder:
            raise ModelError(
                f"{name}: {what}: {of_model} in config.json, {of_encoder} in the tokenizer or preprocessor"
            )
    largest = max(encoder.tokenizer.get_vocab().values())
    if largest >= config.text_config.vocab_size:
        raise ModelError(
            f"{name}: the tokenizer has token {largest}, the model {config.text_config.vocab_size} tokens; give the"
            " tokenizer of the model"
        )


def _test_logits(model: Any, encoder: Encoder) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return Engine(model, encoder).prefill(encoder.encode_group([(encoder.test_turn(),)])).logits


def model_type(name: str | Path) -> str:
    """The `model_type` of a checkpoint. Raises ModelError if it is not a supported policy."""
    return model_type_of(name, MODEL_CLASSES, "policies")


def create_model(vision: Mapping[str, Any], text: Mapping[str, Any], tokenizer: Any, seed: int) -> PreTrainedModel:
    """Creates a Qwen2.5-VL with random weights.

    vision, text: fields of the two parts of its configuration. tokenizer: of `create_tokenizer`.
    Raises SettingsError for unknown, missing or invalid fields.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError

    _check_fields("vision", vision, {"hidden_size", "num_heads", "patch_size"})
    _check_fields("text", text, {"hidden_size", "num_attention_heads"})
    torch.manual_seed(seed)
    try:
        return _created(vision, text, tokenizer)
    except (StrictDataclassError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # The fields are the only input, and the library checks few of them before it uses them.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingsError(f"model.create: no model has these sizes ({reason}); correct vision or text") from None


def _created(vision: Mapping[str, Any], text: Mapping[str, Any], tokenizer: Any) -> PreTrainedModel:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    token = tokenizer.convert_tokens_to_ids
    head = text["hidden_size"] // text["num_attention_heads"]
    section = [head // 2 - 2 * (3 * head // 16), 3 * head // 16, 3 * head // 16]
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
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token(END_OF_TURN)
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


def _check_fields(part: str, settings: Mapping[str, Any], needed: set[str]) -> None:
    from transformers import Qwen2_5_VLConfig

    known = {spec.name for spec in fields(Qwen2_5_VLConfig.sub_configs[f"{part}_config"])}
    if unknown := settings.keys() - known:
        raise SettingsError(f"model.create.{part}: unknown field {min(unknown)!r}; remove it")
    if missing := needed - settings.keys():
        raise SettingsError(f"model.create.{part}: missing field {min(missing)!r}; add it")
    for name in sorted({*needed, "spatial_merge_size"} & settings.keys()):
        if type(settings[name]) is not int or settings[name] < 1:
            raise SettingsError(f"model.create.{part}.{name}: must be an integer >= 1; got {settings[name]!r}")
    layers = settings.get(LAYERS[part])
    if isinstance(layers, int) and layers > MAX_LAYERS:
        raise SettingsError(f"model.create.{part}.{LAYERS[part]}: must be <= {MAX_LAYERS}; got {layers}")


def create_tokenizer(corpus: Sequence[str], vocab_size: int, max_integer_token: int, num_decimal_tokens: int) -> Any:
    """Trains a byte-level BPE tokenizer with Qwen's special tokens and chat template.

    max_integer_token: each of the integers from 0 to it is one token, which makes coordinates easy to learn.
    num_decimal_tokens: so many of the decimals 0.0, 0.1, ... are one token each, which makes timestamps easy to learn.
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
    # Numbers and roles are repeated so that each is more frequent than the rarest word.
    decimals = [f"{n // 10}.{n % 10}" for n in range(num_decimal_tokens)]
    always = "\n".join(["user", "assistant", *map(str, range(max_integer_token + 1)), *decimals])
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
    """The encoder of a created model, for images of any size."""
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
    """Writes a `save_pretrained` folder, which stock `transformers`, vLLM and `load_model` can load.

    It names the stock classes, and has the video preprocessor that stock `AutoProcessor` needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with without_progress_bars():
        model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    model_type = model.config.model_type
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": PROCESSOR_CLASSES[model_type]}
    video = {k: v for k, v in settings.items() if k not in ("image_processor_type", "data_format")}
    video |= {
        "video_processor_type": "Qwen2VLVideoProcessor" if model_type == "qwen2_5_vl" else "Qwen3VLVideoProcessor"
    }
    for name, content in (("preprocessor_config.json", settings), ("video_preprocessor_config.json", video)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    save_view(folder, view)


def save_view(folder: Path, view: View) -> None:
    """Writes the view that a checkpoint was trained with, and its wording."""
    sizes = {name: list(size) for name in _SIZES if (size := getattr(view, name))}
    content = {"num_frames": view.num_frames, "label_unit": view.label_unit, **sizes}
    (folder / VIEW_FILE).write_text(json.dumps({"view": content}, indent=2) + "\n")
    write_prompts(view.wording, folder / PROMPTS_FILE)


def load_view(name: str | Path) -> View:
    """The view that `save_view` wrote (default: `DEFAULT_VIEW`), with the wording of `load_prompts`.

    Files of earlier versions state no `label_unit`; it was seconds. Raises ModelError or SettingsError if a file is
    invalid.
    """
    coordinates, prompts = COORDINATES[model_type(name)], load_prompts(name)
    path = model_folder(name, weights=False) / VIEW_FILE
    if not path.is_file():
        return replace(DEFAULT_VIEW, coordinates=coordinates, prompts=prompts)
    try:
        recorded = read_object(path)["view"]
        sizes: dict[str, Any] = {
            name: _size(recorded[name]) for name in _SIZES if name == "frame_wh" or name in recorded
        }
        label_unit = _label_unit(recorded.get("label_unit", "seconds"))
        view = View(_positive(recorded["num_frames"]), coordinates=coordinates, label_unit=label_unit, **sizes)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: invalid view: {error!r}") from None
    return replace(view, prompts=prompts)


def load_prompts(name: str | Path) -> Prompts | None:
    """The wording that a checkpoint was trained with; None without `PROMPTS_FILE`. Raises SettingsError if invalid."""
    path = model_folder(name, weights=False) / PROMPTS_FILE
    return read_prompts(path) if path.is_file() else None


def _size(sides: Any) -> tuple[int, int]:
    width, height = map(_positive, sides)
    return width, height


def _label_unit(value: Any) -> Clock:
    if value not in get_args(Clock):
        raise ValueError(f"label_unit {value!r} must be one of {', '.join(get_args(Clock))}")
    return cast(Clock, value)


def _positive(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= MAX_VIEW:
        raise ValueError(f"{value!r} must be an integer from 1 to {MAX_VIEW}")
    return value


def supports_bf16(device: str) -> bool:
    """Whether a device has instructions for bf16, which would be slow without."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: str, bf16: bool) -> torch.autocast:
    import torch

    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=bf16)
