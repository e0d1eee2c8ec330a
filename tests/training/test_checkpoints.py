from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from thinkseg.errors import SettingsError
from thinkseg.training.checkpoints import STATE_FILE, claimed, last_checkpoint, publish
from thinkseg.training.recipes import Lora


def write(folder: Path) -> None:
    save_file({"one": torch.ones(2)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")


def test_publish_gives_weights_the_mode_of_other_files(tmp_path: Path) -> None:
    publish(tmp_path / "model", write)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_publish_writes_once_and_removes_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    publish(tmp_path / "model", write)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    publish(tmp_path / "model", lambda folder: pytest.fail(f"{folder} was written again"))


def test_publish_failing_write_creates_no_model(tmp_path: Path) -> None:
    def failing(folder: Path) -> None:
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(tmp_path / "model", failing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["", "[]", "{}", "[" * 100_000, None])
def test_last_checkpoint_damaged_ones_are_removed(tmp_path: Path, state: str | None) -> None:
    for name, content in (("checkpoint-9", '{"global_step": 9}'), ("checkpoint-10", state), ("checkpoint-x", "{}")):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / STATE_FILE).write_text(content)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-9", "checkpoint-x"]


def test_last_checkpoint_of_earlier_release_raises_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text('{"global_step": 9}')
    with pytest.raises(SettingsError, match="checkpoint-9: written by an earlier release"):
        last_checkpoint(tmp_path)
    assert (tmp_path / "checkpoint-9").is_dir()


def test_claimed_damaged_recipe_raises(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="another recipe"), claimed(Lora(rank=2), tmp_path, {}):
        pass


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("basic_ios::clear: iostream error"),
    ],
)
def test_claimed_disk_full_error_of_libraries_names_folder(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(SettingsError, match="a checkpoint cannot be written"), claimed(Lora(rank=2), tmp_path, {}):
        raise error


def test_claimed_other_error_propagates(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), claimed(Lora(rank=2), tmp_path, {}):
        raise RuntimeError("shapes cannot be multiplied")


def test_claimed_second_run_raises(tmp_path: Path) -> None:
    recipe = Lora(rank=2)
    with claimed(recipe, tmp_path, {}), pytest.raises(SettingsError, match="is in use by another run"):
        claimed(recipe, tmp_path, {}).__enter__()
    with pytest.raises(ZeroDivisionError), claimed(recipe, tmp_path, {}):
        _ = 1 / 0
    with claimed(recipe, tmp_path, {}):  # after an exception in the previous block
        pass
    with pytest.raises(SettingsError, match="another recipe"):
        claimed(Lora(rank=4), tmp_path, {}).__enter__()


def test_claimed_other_inputs_raises(tmp_path: Path) -> None:
    recipe, inputs = Lora(rank=2), {"policy": {"model.safetensors": "1"}, "data": {"samples.jsonl": "2"}}
    for _ in range(2):
        with claimed(recipe, tmp_path, inputs):
            pass
    with pytest.raises(SettingsError, match=r"the policy changed since its first run \(model.safetensors\)"):
        claimed(recipe, tmp_path, {**inputs, "policy": {"model.safetensors": "3"}}).__enter__()
    with pytest.raises(SettingsError, match=r"the data changed since its first run \(samples.jsonl\)"):
        claimed(recipe, tmp_path, {**inputs, "data": {}}).__enter__()


def test_claimed_folder_of_earlier_version_gets_fingerprints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with claimed(Lora(rank=2), tmp_path, {}):
        pass
    (tmp_path / "fingerprints.json").unlink()
    assert capsys.readouterr().err == ""
    for inputs in ({"policy": {"config.json": "1"}}, {"policy": {"config.json": "1"}}):
        with claimed(Lora(rank=2), tmp_path, inputs):
            pass
    assert capsys.readouterr().err.count("did not record") == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_claimed_damaged_fingerprints_raises(tmp_path: Path, text: str) -> None:
    inputs = {"policy": {"config.json": "1"}}
    with claimed(Lora(rank=2), tmp_path, inputs):
        pass
    (tmp_path / "fingerprints.json").write_text(text)
    with pytest.raises(SettingsError):
        claimed(Lora(rank=2), tmp_path, inputs).__enter__()
