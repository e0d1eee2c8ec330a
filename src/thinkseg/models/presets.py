"""Presets: a policy with a tracker and a way to prompt it, by name.

They are read from YAML files: that of this package, and those of the user beside the file of `storage.user_settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from glob import glob
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from thinkseg.errors import SettingsError
from thinkseg.models import ASSETS, BUNDLED, bundled_policy_for
from thinkseg.storage.settings_file import FROM_LIST, Settings, checked, read_content
from thinkseg.storage.user_settings import config_path
from thinkseg.types import MAX_SIDE

BUILT_IN = ASSETS / "presets" / "presets.yaml"

DEFAULT = "shapes"

BF16, FP32 = 2, 4
"""Bytes of a parameter. Policies are stored in bf16, and trackers in fp32; on a CPU, both run in fp32."""

Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]
Billions = Annotated[float, Field(ge=0, le=10_000)]


class Parameters(Settings):
    """Numbers of parameters in billions."""

    policy: Billions = 0.0
    tracker: Billions = 0.0


class Score(Settings):
    """A published score of a policy with a tracker. j_and_f: in percent."""

    benchmark: str
    j_and_f: Annotated[float, Field(ge=0, le=100)]
    source: str


class Preset(Settings):
    """One preset. What it leaves open of the view, from `frames` to `prompts`, is the policy's own.

    policy: None if the user has to give it. prompts: a file, relative to that of the preset.
    """

    summary: str
    policy: str | None = None
    tracker: str
    chain: str = "veason"
    frames: Annotated[int, Field(gt=0)] | None = None
    frame_size: Annotated[tuple[Side, Side], FROM_LIST] | None = None
    closeup_size: Annotated[tuple[Side, Side], FROM_LIST] | None = None
    label_unit: Literal["seconds", "index"] | None = None
    prompts: str | None = None
    parameters: Parameters | None = None
    license: str | None = None
    scores: Annotated[tuple[Score, ...], FROM_LIST] = ()

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        if self.policy in BUNDLED and self.policy != (fitting := bundled_policy_for(self.chain)):
            raise ValueError(f"the policy {self.policy} does not answer the chain {self.chain}; give {fitting}")
        return self

    def sizes_gb(self) -> tuple[float, float, float] | None:
        """Returns the size of the download, and of the weights on a GPU and on a CPU, in GB (10^9 bytes), if known."""
        if not (count := self.parameters):
            return None
        policy, tracker = BF16 * count.policy, FP32 * count.tracker
        return tracker + (policy if self.policy else 0), policy + tracker, FP32 * count.policy + tracker


def presets() -> dict[str, Preset]:
    """Returns all presets by name; the user's replace those of the same name.

    Raises SettingsError if a file is invalid.
    """
    return {name: preset for path in (BUILT_IN, *_user_files()) for name, preset in _read(path)}


def _user_files() -> list[Path]:
    folder = config_path().parent
    names = ["presets.yaml", *sorted(glob("presets/*.yaml", root_dir=folder))]
    return [folder / name for name in names if os.path.isfile(folder / name)]


def _read(path: Path) -> Iterator[tuple[str, Preset]]:
    for name, fields in read_content(path).items():
        preset = checked(Preset, fields, f"{path}: {name}")
        if preset.prompts:
            preset = preset.model_copy(update={"prompts": str(path.parent / preset.prompts)})
        yield str(name), preset


def preset_named(name: str, place: str = "preset") -> Preset:
    """Returns a preset. Raises SettingsError, with the place that names it, if there is none of this name."""
    known = presets()
    if name not in known:
        close = [f"; did you mean {close}?" for close in get_close_matches(name, known, 1)]
        raise SettingsError(f"{place}: unknown preset {name!r}{''.join(close)}; must be one of {', '.join(known)}")
    return known[name]
