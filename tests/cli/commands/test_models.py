"""`thinkseg models` and `thinkseg config`: the table, the choice and its effect, downloads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakehub import FakeHub, fake_hub, use_hub
from thinkseg.cli.app import main

PRESET = "mine: {summary: my own, policy: owner/policy, tracker: owner/tracker, license: MIT}\n"


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's file of settings, with an empty cache of models and no network."""
    monkeypatch.setenv("THINKSEG_CONFIG", str(tmp_path / "user" / "config.yaml"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "user" / "config.yaml"


@pytest.fixture
def hub(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the models of the preset `mine`."""
    file.parent.mkdir()
    (file.parent / "presets.yaml").write_text(PRESET)
    with fake_hub() as running:
        use_hub(monkeypatch, running.address, tmp_path / "cache")
        for name in ("owner/policy", "owner/tracker"):
            running.models[name] = {"config.json": b"{}", "model.safetensors": name.encode()}
        yield running


def rows(printed: str) -> dict[str, list[str]]:
    """The rows of a table by their first word."""
    return {line.split()[0]: line.split() for line in printed.splitlines()}


def test_models_lists_presets_and_marks_the_one_in_use(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert rows(printed)["small"][1:3] == ["Qwen/Qwen3-VL-2B-Instruct", "facebook/sam2.1-hiera-tiny"]
    assert rows(printed)["small"][3:] == ["4.4", "4.4", "8.7", "no", "Apache-2.0"]
    assert rows(printed)["*"][1:4] == ["shapes", "shapes", "flow"]
    assert "Apache-2.0" in printed


def test_models_show_has_scores_with_their_source(capsys):
    assert main(["models", "show", "paper-veason"]) == 0
    printed = capsys.readouterr().out
    assert "J&F 59.9 (arXiv 2508.11538)" in printed
    assert rows(printed)["policy"][1:] == ["given", "by", "you"]
    assert rows(printed)["frame"][1:] == ["size", "560x560"]


def test_models_use_writes_the_choice_and_config_shows_it(file, capsys, monkeypatch):
    assert main(["models", "use", "small"]) == 0
    written, missing = capsys.readouterr().out.splitlines()
    assert written == f"wrote {file}"
    assert missing.startswith("not downloaded yet: Qwen/Qwen3-VL-2B-Instruct, facebook/sam2.1-hiera-tiny; `thinkseg")
    monkeypatch.setenv("THINKSEG_DEVICE", "cpu")
    assert main(["config"]) == 0
    shown = rows(capsys.readouterr().out)
    assert shown["preset"][1:3] == ["small", str(file)]
    assert shown["policy"][1:4] == ["Qwen/Qwen3-VL-2B-Instruct", "preset", "small"]
    assert shown["tracker"][1] == "flow"
    assert shown["device"][1:3] == ["cpu", "THINKSEG_DEVICE"]
    assert shown["precision"][1:3] == ["auto", "default"]
    assert shown["file:"] == ["file:", str(file)]


def test_models_use_says_what_goes_before_the_file(capsys, monkeypatch):
    monkeypatch.setenv("THINKSEG_PRESET", "quality")
    assert main(["models", "use", "shapes"]) == 0
    assert capsys.readouterr().err == "thinkseg: THINKSEG_PRESET is set to quality, and goes before this file\n"


def test_models_use_server_needs_a_policy(file, capsys):
    assert main(["models", "use", "server"]) == 2
    assert capsys.readouterr().err.startswith(
        "thinkseg: --policy: is missing; the preset server needs one: a model behind"
    )
    assert main(["models", "use", "server", "--policy", "openai:m@http://localhost:8000/v1"]) == 0
    assert file.read_text().endswith("preset: server\npolicy: openai:m@http://localhost:8000/v1\n")


def test_models_use_stores_the_full_path_of_a_folder(file, tmp_path, monkeypatch):
    (tmp_path / "Veason-R1-3B").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["models", "use", "paper-veason", "--policy", "Veason-R1-3B"]) == 0
    assert f"policy: {tmp_path / 'Veason-R1-3B'}\n" in file.read_text()


@pytest.mark.parametrize("action", ["show", "use", "fetch"])
def test_models_unknown_preset_is_one_line(action, file, capsys):
    assert main(["models", action, "smal"]) == 2
    assert capsys.readouterr().err.startswith(
        "thinkseg: preset: unknown preset 'smal'; did you mean small?; must be one"
    )
    assert not file.exists()


def test_models_fetch_downloads_policy_and_tracker(hub, capsys):
    assert main(["models", "fetch", "mine"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "downloading owner/policy: 0.0 GB",
        "downloading owner/tracker: 0.0 GB",
        "mine: downloaded",
    ]
    hub.requests.clear()
    assert main(["models", "fetch", "mine"]) == 0
    assert capsys.readouterr().out == "mine: downloaded\n"
    assert hub.requests == []
    assert main(["models"]) == 0
    assert rows(capsys.readouterr().out)["mine"][-2:] == ["yes", "MIT"]


def test_models_names_the_part_that_is_missing(hub, capsys):
    del hub.models["owner/tracker"]
    assert main(["models", "fetch", "mine"]) == 2
    assert "owner/tracker: no such folder, and the hub has no such public model" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert rows(capsys.readouterr().out)["mine"][-3:] == ["no", "owner/tracker", "MIT"]


def test_models_fetch_offline_is_one_line(capsys):
    assert main(["models", "fetch", "small"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("thinkseg: Qwen/Qwen3-VL-2B-Instruct: no such folder, and HF_HUB_OFFLINE is set")


def test_models_fetch_of_the_bundled_preset_has_nothing_to_do(capsys):
    assert main(["models", "fetch", "shapes"]) == 0
    assert capsys.readouterr().out == "shapes: downloaded\n"


@pytest.mark.parametrize("command", [["models"], ["config"], ["segment", "clip.mp4", "the cat", "--out", "x"]])
def test_broken_settings_are_one_line_with_their_file(command, file, capsys):
    file.parent.mkdir()
    file.write_text("presett: small\n")
    assert main(command) == 2
    expected = f"thinkseg: {file}: presett: unknown field; did you mean preset? Known fields are "
    assert capsys.readouterr().err.startswith(expected)
