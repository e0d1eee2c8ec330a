"""Downloads from a hub on this machine: what is complete, what is continued, and what is said of errors."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.file_download import http_get

from fakehub import FakeHub, fake_hub, use_hub
from thinkseg.errors import ModelError
from thinkseg.models.hub import fetch, is_complete, model_folder

WEIGHTS = b"w" * 4000
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"x" * 10_000, "README.md": b"hello"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the model owner/model, and an empty cache."""
    with fake_hub() as running:
        use_hub(monkeypatch, running.address, tmp_path / "cache")
        running.models["owner/model"] = dict(FILES)
        yield running


def test_fetch_downloads_what_is_read_and_says_how_much(hub: FakeHub) -> None:
    announced: list[int] = []
    assert not is_complete("owner/model")
    fetch("owner/model", announced.append)
    assert is_complete("owner/model")
    assert announced == [4002]
    assert sorted(path.name for path in model_folder("owner/model").iterdir()) == ["config.json", "model.safetensors"]


def test_fetch_complete_model_connects_to_nothing(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch("owner/model", lambda size: None)
    use_hub(monkeypatch, "http://127.0.0.1:9", Path(model_folder("owner/model")).parents[2])
    announced: list[int] = []
    fetch("owner/model", announced.append)
    assert announced == []


def test_fetch_interrupted_is_not_complete_and_keeps_complete_files(hub: FakeHub, monkeypatch) -> None:
    def lose_connection(url: str, *arguments: object, **settings: object) -> None:
        if url.endswith(".safetensors"):
            raise ConnectionError("lost")
        http_get(url, *arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download.http_get", lose_connection)
        with pytest.raises(ModelError, match=r"^owner/model: no such folder, and the hub .* cannot be reached"):
            fetch("owner/model", lambda size: None)
    assert not is_complete("owner/model")
    hub.requests.clear()
    announced: list[int] = []
    fetch("owner/model", announced.append)
    assert announced == [4000]
    assert hub.requests == ["model.safetensors"]
    assert is_complete("owner/model")


@pytest.mark.usefixtures("interruptible")
def test_fetch_ends_within_a_file_on_ctrl_c(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = iter(range(1000))

    def endless(url: str, *arguments: Any, tqdm_class: Any, **settings: Any) -> None:
        if not url.endswith(".safetensors"):
            http_get(url, *arguments, tqdm_class=tqdm_class, **settings)
            return
        os.kill(os.getpid(), signal.SIGINT)
        with tqdm_class(total=1) as bar:
            for _ in updates:
                time.sleep(0.01)
                bar.update(0)

    monkeypatch.setattr("huggingface_hub.file_download.http_get", endless)
    with pytest.raises(KeyboardInterrupt):
        fetch("owner/model", lambda size: None)
    assert next(updates, None) is not None
    assert not is_complete("owner/model")


def test_fetch_without_space_raises_before_downloading(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=4001)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelError, match=r"^owner/model: needs 0.0 GB, and .*cache has 0.0 GB free; free some space"):
        fetch("owner/model", lambda size: None)
    assert hub.requests == []


def test_fetch_without_weights_raises(hub: FakeHub) -> None:
    del hub.models["owner/model"]["model.safetensors"]
    with pytest.raises(ModelError, match=r"^owner/model: the hub has no config.json or no weights in safetensors"):
        fetch("owner/model", lambda size: None)


def test_fetch_unknown_model_raises(hub: FakeHub) -> None:
    with pytest.raises(ModelError, match=r"^owner/other: no such folder, and the hub has no such public model"):
        fetch("owner/other", lambda size: None)


def test_fetch_name_of_nothing_raises(hub: FakeHub) -> None:
    assert not is_complete("models/of mine")
    with pytest.raises(ModelError, match=r"^models/of mine: no such folder, and not a name on the hub"):
        fetch("models/of mine", lambda size: None)


def test_fetch_full_disk_is_explained(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(ModelError, match="the disk of the cache is full; free some space"):
        fetch("owner/model", lambda size: None)
