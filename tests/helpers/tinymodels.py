"""Qwen-VL models small enough to be made in a test: real classes, random weights, a real tokenizer."""

from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.models.policies.qwen.chat_template import END_OF_TURN, IMAGE_PAD
from thinkseg.models.policies.qwen.checkpoint import create_encoder, create_model, create_tokenizer, save
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder, spans
from thinkseg.types import Dialogue, Turn, View

VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 14,
    "fullatt_block_indexes": [0],
}
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
VIEW = View(2, (56, 56))
CORPUS = [
    "Look at these video frames; before each stands its time in seconds. 0.0 s: 0.4 s: Question: the red star",
    '<think>I see a blue ball.</think><answer>{"keyframe_timestamp": 0.4, "bbox_2d_list": [[1, 2, 30, 40]]}</answer>',
]


def tiny_tokenizer() -> Any:
    return create_tokenizer(CORPUS * 20, vocab_size=420, max_integer_token=60, num_decimal_tokens=10)


def save_qwen2_5(folder: Path, tokenizer: Any) -> Path:
    """A Qwen2.5-VL for frames of any multiple of 28."""
    model = stirred(create_model(VISION, TEXT, tokenizer, seed=0))
    save(model, create_encoder(tokenizer, VISION), folder, VIEW)
    return folder


def save_qwen3(folder: Path, tokenizer: Any) -> Path:
    """A Qwen3-VL for frames of any multiple of 32."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 16,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
        "out_hidden_size": TEXT["hidden_size"],
    }
    token = tokenizer.convert_tokens_to_ids
    text = {
        **TEXT,
        "head_dim": 24,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 4, 4]},
        "pad_token_id": token("<|endoftext|>"),
        "eos_token_id": token(END_OF_TURN),
        "tie_word_embeddings": True,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token(IMAGE_PAD),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token(END_OF_TURN)
    save(stirred(model), create_encoder(tokenizer, vision), folder, View(2, (64, 64)))
    return folder


def stirred(model: Any) -> Any:
    """The model with its weights enlarged, so that what it says depends on all it is shown.

    Fresh weights are so small that a model says its last token again and again, whatever came before.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed_tokens" not in name:
                weight *= 10
    return model


def picture(seed: int, size_wh: tuple[int, int] = (56, 56)) -> np.ndarray:
    """Noise, uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (*size_wh[::-1], 3), np.uint8)


def asked(question: str, images: list[np.ndarray]) -> Turn:
    """A turn as chains make them: every image under its label, then the question."""
    content: list[str | np.ndarray] = []
    for number, image in enumerate(images):
        content += (f"{number}.0 s:", image)
    return Turn((*content, question))


def labelled_text(encoder: Encoder, dialogue: Dialogue) -> list[str]:
    """The words of a dialogue that are trained on, one string a stretch."""
    one = encoder.encode(dialogue)
    return taught_text(encoder, one.labels)


def taught_text(encoder: Encoder, labels: np.ndarray) -> list[str]:
    """The words that labels of a dialogue or row stand for, one string a stretch."""
    return [encoder.tokenizer.decode(labels[start:end]) for start, end in spans(labels != IGNORED)]


def weights(folder: Path) -> dict[str, Any]:
    """The tensors of a saved model by name."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def changed(one: Path, other: Path) -> set[str]:
    """Names of the weights in which two saved models differ."""
    import torch

    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}
