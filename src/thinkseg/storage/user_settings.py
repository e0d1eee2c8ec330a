"""The user's own settings: what is used where nothing is given, from environment variables and from a file.

`UserSettings` is the table of all: a field `x` is the key `x` of the file and the variable THINKSEG_X.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replacing
from thinkseg.storage.settings_file import Settings, checked
from thinkseg.storage.yaml_file import load_yaml

PATH_VARIABLE = "THINKSEG_CONFIG"
"""Environment variable with the path of the file."""


class UserSettings(Settings):
    """A policy and a tracker, how the policy is prompted, and where both run. None: not set."""

    preset: str | None = None
    policy: str | None = None
    tracker: str | None = None
    chain: str | None = None
    device: str | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Settings of one place. label: from the name of a setting to what this place is called in messages."""

    label: Callable[[str], str]
    values: UserSettings


def config_path() -> Path:
    """Returns the path of the file, which may not exist."""
    if given := os.environ.get(PATH_VARIABLE):
        return Path(given)
    from platformdirs import user_config_path

    return user_config_path("thinkseg") / "config.yaml"


def user_sources() -> list[Source]:
    """Returns the places of settings, the first one first: variables, then the file.

    Raises SettingsError for an invalid value or an unknown key.
    """
    path = config_path()
    return [Source(_variable, _variables()), Source(lambda name: str(path), _file(path))]


def store(changes: Mapping[str, str | None]) -> Path:
    """Writes settings to the file and returns its path. None removes a setting; those not named stay as they are.

    Raises SettingsError if the file is invalid or cannot be written.
    """
    path = config_path().resolve()
    values = {**_file(path).model_dump(), **changes}
    text = yaml.safe_dump({name: value for name, value in values.items() if value}, sort_keys=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(
                f"# `thinkseg config` shows what holds; `thinkseg models use NAME` writes it.\n{text}", "utf-8"
            )
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be written: {error.strerror}; set {PATH_VARIABLE} to another file"
        ) from None
    return path


def _variable(name: str) -> str:
    return f"THINKSEG_{name.upper()}"


def _variables() -> UserSettings:
    found = UserSettings()
    for name in UserSettings.model_fields:
        if value := os.environ.get(_variable(name)):
            place = f"environment variable {_variable(name)}"
            found = checked(UserSettings, found.model_dump() | {name: value}, place)
    return found


def _file(path: Path) -> UserSettings:
    # A file of comments alone has the content None. One in a folder of another user is not there.
    content = load_yaml(path) if os.path.exists(path) else None
    return checked(UserSettings, {} if content is None else content, path)
