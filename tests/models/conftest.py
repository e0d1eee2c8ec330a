"""A tiny folder of SAM 2, made once per session, and a switch for the hub."""

from pathlib import Path

import pytest

from tinytrackers import save_sam2


@pytest.fixture(scope="session")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam2(tmp_path_factory.mktemp("trackers") / "sam2")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns the hub off, so that no test waits for it."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
