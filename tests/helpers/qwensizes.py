"""The sizes of Qwen2.5-VL 3B and 7B, and of Qwen3-VL 2B and 8B, as in the config.json of the Instruct models."""

from pathlib import Path
from typing import Any

VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_ALL = {
    "max_position_embeddings": 128_000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
TEXT: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
        **_ALL,
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "tie_word_embeddings": False,
        **_ALL,
    },
}


def write_config(size: str, folder: Path) -> Path:
    """Writes the config.json of a size, "3b" or "7b"; that is all that `thinkseg train plan` reads of a model."""
    from transformers import Qwen2_5_VLConfig

    text = TEXT[size]
    vision = {"out_hidden_size": text["hidden_size"], **VISION}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=text["tie_word_embeddings"])
    config.save_pretrained(folder)
    return folder


_QWEN3_ALL = {
    "head_dim": 128,
    "num_key_value_heads": 8,
    "vocab_size": 151_936,
    "max_position_embeddings": 262_144,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
}
QWEN3: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "2b": (
        {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "tie_word_embeddings": True,
        },
        {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]},
    ),
    "8b": (
        {
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "tie_word_embeddings": False,
        },
        {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]},
    ),
}
"""Language model and vision tower by size."""


def write_qwen3_config(size: str, folder: Path) -> Path:
    """Writes the config.json of a Qwen3-VL, "2b" or "8b"."""
    from transformers import Qwen3VLConfig

    text, vision = QWEN3[size]
    vision = {"out_hidden_size": text["hidden_size"], "num_heads": 16, "num_position_embeddings": 2304, **vision}
    config = Qwen3VLConfig(
        text_config=_QWEN3_ALL | text, vision_config=vision, tie_word_embeddings=text["tie_word_embeddings"]
    )
    config.save_pretrained(folder)
    return folder
