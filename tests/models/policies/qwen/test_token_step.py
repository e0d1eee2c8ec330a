"""Decoding against the model's own forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.shared_kv_cache import SharedKVCache
from thinkseg.models.policies.qwen.token_step import TokenStep
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.trainer import trainable
from tinymodels import asked, picture

TOKENS = [[40, 41], [42, 43], [44, 45]]


def with_adapter(model: Any) -> Any:
    """Adds a LoRA adapter that has an effect."""
    adapted = trainable(model, ModelRecipe(name="tiny", lora=Lora(rank=2)), gradient_checkpointing=False).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5, generator=generator)
    return adapted


def both_logits(model: Any, encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after two tokens more, (3, vocabulary), decoded together and from complete forward passes."""
    size = 2 * encoder.size_multiple
    prompts = encoder.encode_group([(asked("Who?", [picture(0, (size, size))]),), (asked("Where, then?", []),)])
    engine, rows = Engine(model, encoder), [0, 0, 1]
    prefix = engine.prefill(prompts)
    cache = SharedKVCache(prefix.cache, prefix.attention_mask, rows)
    positions = prefix.next_position_ids[rows]
    step = TokenStep(model, int(positions.max()) + 2)
    for offset, tokens in enumerate(torch.tensor(TOKENS).T):
        found = step.logits(tokens, positions + offset, cache)
    expected = []
    for row, tokens in zip(rows, TOKENS, strict=True):
        ids = torch.from_numpy(prompts[row].input_ids)
        ids = torch.cat([ids, torch.tensor(tokens)])[None]
        images = {}
        if prompts[row].images:
            images = {"pixel_values": prompts[row].pixel_values, "image_grid_thw": prompts[row].image_grid_thw}
        kinds = (ids == encoder.image_pad_id).int()
        expected.append(model(input_ids=ids, mm_token_type_ids=kinds, **images).logits[0, -1])
    return found.float(), torch.stack(expected).float()


@pytest.mark.parametrize("kind", ["qwen2_5", "qwen3"])
@pytest.mark.parametrize("lora", [False, True])
@torch.no_grad()
def test_logits_match_model(kind: str, lora: bool, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = load_model(folder, "fp32")
    torch.testing.assert_close(*both_logits(with_adapter(model) if lora else model, Encoder.load(folder)))


@pytest.mark.parametrize("kind", ["qwen2_5", "qwen3"])
@pytest.mark.parametrize("autocast", [False, True])
@torch.no_grad()
def test_logits_bf16_match_model(kind: str, autocast: bool, request: pytest.FixtureRequest) -> None:
    """Of weights in bf16, and of weights in fp32 under autocast: as close as rounding allows."""
    folder: Path = request.getfixturevalue(kind)
    model = load_model(folder, "fp32" if autocast else "bf16")
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = both_logits(model, Encoder.load(folder))
    torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)
