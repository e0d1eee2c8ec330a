"""Which models hold, given options, variables, the file of settings and a preset."""

from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.models import choice
from thinkseg.models.choice import Choice, Held, choose
from thinkseg.storage.user_settings import UserSettings, store

TINY = "facebook/sam2.1-hiera-tiny"


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's file of settings; no model is downloaded."""
    monkeypatch.setenv("THINKSEG_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setattr(choice, "is_complete", lambda name: False)
    return tmp_path / "config.yaml"


def values(found: Choice) -> tuple[str | None, ...]:
    return found.policy.value, found.tracker.value, found.chain.value


def test_choose_without_settings_is_the_bundled_policy_with_flow() -> None:
    found = choose()
    assert values(found) == ("shapes", "flow", "veason")
    assert (found.preset, found.policy.source, found.note) == (Held("shapes", "default"), "preset shapes", None)


def test_choose_bundled_policy_follows_the_chain() -> None:
    assert values(choose(UserSettings(chain="revseg"))) == ("shapes-revseg", "flow", "revseg")


def test_choose_option_goes_before_variable_before_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store({"preset": "small"})
    assert choose().preset == Held("small", str(file))
    monkeypatch.setenv("THINKSEG_PRESET", "quality")
    assert choose().preset == Held("quality", "THINKSEG_PRESET")
    assert choose(UserSettings(preset="shapes")).preset.value == "shapes"


def test_choose_preset_replaces_models_of_later_places() -> None:
    store({"preset": "server", "policy": "openai:m@http://h/v1", "tracker": "flow", "device": "cpu"})
    assert choose().policy_name() == "openai:m@http://h/v1"
    found = choose(UserSettings(preset="paper-revseg"))
    assert values(found) == ("Qwen/Qwen2.5-VL-7B-Instruct", "flow", "revseg")
    assert found.placement() == {"device": "cpu"}


def test_choose_policy_beside_the_preset_gets_its_view() -> None:
    found = choose(UserSettings(preset="paper-veason", policy="my/folder"))
    settings = found.view_settings()
    assert Path(settings.pop("prompts")).is_file()
    assert settings == {"frames": 8, "frame_size": (560, 560), "label_unit": "index"}


def test_choose_policy_before_the_preset_keeps_its_own_view_and_chain() -> None:
    store({"preset": "paper-revseg"})
    found = choose(UserSettings(policy="my/folder"))
    assert values(found) == ("my/folder", "flow", "veason")
    assert found.view_settings() == {}


def test_choose_other_chain_drops_the_view_of_the_preset() -> None:
    assert choose(UserSettings(preset="paper-revseg", chain="veason")).view_settings() == {}


def test_choose_auto_tracker_is_the_presets_if_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    given = UserSettings(preset="small")
    missing = choose(given)
    assert missing.tracker == Held("flow", f"preset small: {TINY} is not downloaded")
    assert missing.note == (
        f"tracking with flow, because {TINY} is not downloaded; `thinkseg models fetch small` downloads it"
    )
    monkeypatch.setattr(choice, "is_complete", lambda name: name == TINY)
    found = choose(given)
    assert (found.tracker, found.note) == (Held(TINY, "preset small"), None)


def test_choose_option_auto_goes_before_the_tracker_of_the_file() -> None:
    store({"tracker": "my/sam2", "preset": "small"})
    assert choose().tracker.value == "my/sam2"
    assert choose(UserSettings(tracker="auto")).tracker.value == "flow"


def test_choose_only_options_ignores_the_user_and_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKSEG_PRESET", "quality")
    assert values(choose(only_options=True)) == ("shapes", "flow", "veason")
    found = choose(UserSettings(preset="small"), only_options=True)
    assert (found.tracker.value, found.note) == (TINY, None)


def test_choose_unknown_preset_names_its_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store({"preset": "smal"})
    with pytest.raises(SettingsError, match=f"^{file}: unknown preset 'smal'; did you mean small"):
        choose()
    monkeypatch.setenv("THINKSEG_PRESET", "big")
    with pytest.raises(SettingsError, match=r"^THINKSEG_PRESET: unknown preset 'big'; must be one of shapes, small"):
        choose()


def test_policy_name_left_to_the_user_raises() -> None:
    with pytest.raises(SettingsError, match="preset 'server' names no policy: give one with --policy"):
        choose(UserSettings(preset="server")).policy_name()
