"""Presets as files: those of the package, and the user's."""

from pathlib import Path

import pytest

from thinkseg.chains import CHAINS
from thinkseg.errors import SettingsError
from thinkseg.models import check_policy, check_tracker
from thinkseg.models.presets import Parameters, Preset, preset_named, presets
from thinkseg.storage.prompt_file import read_prompts

NAMES = ["shapes", "small", "quality", "paper-veason", "paper-revseg", "server"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's settings."""
    monkeypatch.setenv("THINKSEG_CONFIG", str(tmp_path / "config.yaml"))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_presets_of_the_package_name_what_exists(name: str) -> None:
    preset = presets()[name]
    assert preset.chain in CHAINS
    check_tracker(preset.tracker)
    if preset.policy:
        check_policy(preset.policy)
    if preset.prompts:
        assert "{frames}" in read_prompts(preset.prompts, preset.chain).veason.prompt


def test_presets_order_is_that_of_the_file() -> None:
    assert list(presets()) == NAMES


def test_presets_of_the_user_add_and_replace(folder: Path) -> None:
    (folder / "presets").mkdir()
    (folder / "presets.yaml").write_text("mine: {summary: my own, policy: me/mine, tracker: flow, prompts: w.yaml}\n")
    (folder / "presets" / "more.yaml").write_text("small: {summary: other, policy: me/small, tracker: flow}\n")
    found = presets()
    assert list(found) == [*NAMES, "mine"]
    assert found["mine"].prompts == str(folder / "w.yaml")
    assert found["small"].policy == "me/small"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mine: {summary: s}\n", "mine: tracker: missing; add it"),
        ("mine: {summary: s, tracker: flow, frame: 8}\n", "mine: frame: unknown field; did you mean frames?"),
        ("mine: {summary: s, tracker: flow, frames: 0}\n", "mine: frames: must be greater than 0; got 0"),
        ("mine: 3\n", "mine: must be a mapping of fields; got 3"),
        (
            "mine: {summary: s, tracker: flow, policy: shapes, chain: revseg}\n",
            "mine: the policy shapes does not answer the chain revseg; give shapes-revseg",
        ),
    ],
)
def test_presets_invalid_file_is_named(folder: Path, text: str, reason: str) -> None:
    (folder / "presets.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        presets()
    assert str(caught.value).startswith(f"{folder / 'presets.yaml'}: {reason}")


def test_preset_named_unknown_suggests_a_close_name() -> None:
    with pytest.raises(SettingsError, match=r"^--preset: unknown preset 'smal'; did you mean small\?; must be one of"):
        preset_named("smal", "--preset")


def test_sizes_gb_are_computed_from_parameters() -> None:
    preset = Preset(summary="s", policy="a/b", tracker="c/d", parameters=Parameters(policy=3.0, tracker=0.5))
    assert preset.sizes_gb() == (8.0, 8.0, 14.0)
    assert preset.model_copy(update={"policy": None}).sizes_gb() == (2.0, 8.0, 14.0)
    assert Preset(summary="s", tracker="flow").sizes_gb() is None
