"""The sizes of Qwen/Qwen2.5-VL-3B-Instruct and -7B-Instruct, as in their config.json."""

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
