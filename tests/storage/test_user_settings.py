"""The user's settings: where they come from, and what is said about invalid ones."""

import errno
import os
from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.user_settings import UserSettings, config_path, store, user_sources


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the file of settings, which does not exist."""
    monkeypatch.setenv("THINKSEG_CONFIG", str(tmp_path / "settings" / "config.yaml"))
    return config_path()


def test_config_path_default_is_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("THINKSEG_CONFIG")
    monkeypatch.setattr("platformdirs.user_config_path", lambda name: tmp_path / name)
    assert config_path() == tmp_path / "thinkseg" / "config.yaml"


def test_user_sources_without_settings_are_empty():
    assert [source.values for source in user_sources()] == [UserSettings(), UserSettings()]


def test_user_sources_are_variables_then_the_file(file, monkeypatch):
    store({"preset": "small", "device": "cpu"})
    monkeypatch.setenv("THINKSEG_DEVICE", "cuda:1")
    monkeypatch.setenv("THINKSEG_POLICY", "")
    variables, stored = user_sources()
    assert variables.values == UserSettings(device="cuda:1")
    assert stored.values == UserSettings(preset="small", device="cpu")
    assert (variables.label("device"), stored.label("device")) == ("THINKSEG_DEVICE", str(file))


def test_user_sources_in_a_folder_of_another_user_are_empty(file, monkeypatch):
    def denied(path, **more):
        if str(path) == str(file):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, **more)

    stat = os.stat
    monkeypatch.setattr(os, "stat", denied)
    assert [source.values for source in user_sources()] == [UserSettings(), UserSettings()]


def test_store_keeps_and_removes_settings(file):
    store({"policy": "openai:m@http://h/v1", "precision": "bf16"})
    store({"preset": "small", "policy": None})
    assert user_sources()[1].values == UserSettings(preset="small", precision="bf16")
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_user_sources_of_a_file_without_keys_are_empty(file, text):
    file.parent.mkdir()
    file.write_text(text)
    assert user_sources()[1].values == UserSettings()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("polcy: x\n", "polcy: unknown field; did you mean policy? Known fields are preset, policy, tracker"),
        ("precision: int8\n", "precision: must be 'auto', 'fp32', 'bf16' or 'fp16'; got 'int8'"),
        ("preset: [small]\n", "preset: must be a string; got ['small']"),
        ("- small\n", "must be a mapping of fields"),
        ("preset: {\n", "invalid YAML"),
    ],
)
def test_user_sources_invalid_file_is_named(file, text, reason):
    file.parent.mkdir()
    file.write_text(text)
    for use in (user_sources, lambda: store({"preset": "small"})):
        with pytest.raises(SettingsError) as caught:
            use()
        assert str(caught.value).startswith(f"{file}: ")
        assert reason in str(caught.value)


def test_user_sources_invalid_variable_is_named(monkeypatch):
    monkeypatch.setenv("THINKSEG_PRECISION", "int8")
    with pytest.raises(SettingsError, match=r"^environment variable THINKSEG_PRECISION: precision: must be 'auto'"):
        user_sources()


def test_store_in_a_folder_that_cannot_be_made_raises(file):
    file.parent.write_text("a file")
    with pytest.raises(SettingsError, match=r"cannot be written: .*; set THINKSEG_CONFIG to another file"):
        store({"preset": "small"})
