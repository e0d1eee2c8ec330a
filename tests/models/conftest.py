"""Tiny folders of Qwen-VL and SAM 2, made once per session; tests do not change them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from thinkseg.models.policies.qwen.encoder import Encoder
from tinymodels import save_qwen2_5, save_qwen3, tiny_tokenizer
from tinytrackers import save_sam2

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def qwen2_5(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_qwen2_5(tmp_path_factory.mktemp("models") / "qwen2_5", tokenizer)


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_qwen3(tmp_path_factory.mktemp("models") / "qwen3", tokenizer)


@pytest.fixture(scope="session")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam2(tmp_path_factory.mktemp("trackers") / "sam2")


@pytest.fixture(scope="session")
def encoder(qwen2_5: Path) -> Encoder:
    return Encoder.load(qwen2_5)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns the hub off, so that no test waits for it."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
