import shutil

import pytest

from thinkseg.errors import ModelError
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


def test_checkpoint_fingerprint_of_hub_name_is_that_of_its_files(folder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert checkpoint_fingerprint("owner/model") == checkpoint_fingerprint(folder)


def test_checkpoint_fingerprint_without_model_raises(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        checkpoint_fingerprint(tmp_path / "none")


def test_checkpoint_fingerprint_of_bundled_policies_differ():
    one, other = (checkpoint_fingerprint(folder) for folder in BUNDLED.values())
    assert one["model.safetensors"] != other["model.safetensors"]


def test_fingerprint_of_model_without_is_empty():
    assert fingerprint_of(object()) == {}
