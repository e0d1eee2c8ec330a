import json

import pytest

from thinkseg.models import BUNDLED
from thinkseg.models.fingerprint import checkpoint_fingerprint, fingerprint_of
from thinkseg.storage.fingerprint import file_fingerprint


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "README.md", "trainer_state.json"):
        (folder / name).write_text(name)
    return folder


def test_checkpoint_fingerprint_of_folder_has_files_that_are_loaded(folder):
    loaded = ("config.json", "model.safetensors")
    assert checkpoint_fingerprint(folder) == {name: file_fingerprint(folder / name) for name in loaded}


def test_checkpoint_fingerprint_of_adapter_has_files_of_base(folder, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    before = checkpoint_fingerprint(adapter)
    assert set(before) == {"adapter_config.json", f"config.json of {folder}", f"model.safetensors of {folder}"}
    (folder / "model.safetensors").write_text("new")
    assert checkpoint_fingerprint(adapter) != before


@pytest.mark.parametrize(
    "text", ["", "[]", '{"base_model_name_or_path": null}', '{"base_model_name_or_path": "a/b/c"}']
)
def test_checkpoint_fingerprint_of_adapter_without_base(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    assert set(checkpoint_fingerprint(tmp_path)) == {"adapter_config.json"}


def test_checkpoint_fingerprint_of_hub_name_is_its_commit(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert checkpoint_fingerprint("owner/model") == {"revision": commit}
    assert (
        checkpoint_fingerprint("owner/other") == checkpoint_fingerprint("flow") == checkpoint_fingerprint("a/b/c") == {}
    )


def test_checkpoint_fingerprint_of_bundled_policies_differ():
    one, other = (checkpoint_fingerprint(folder) for folder in BUNDLED.values())
    assert one["model.safetensors"] != other["model.safetensors"]


def test_fingerprint_of_model_without_is_empty():
    assert fingerprint_of(object()) == {}
