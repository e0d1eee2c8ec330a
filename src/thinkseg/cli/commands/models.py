"""`thinkseg models ...`: presets of models, which of them is used, and their download."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinkseg.cli import model_options
from thinkseg.cli.declare import argument, command, new_group, option, text
from thinkseg.console import say, table, warn
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from thinkseg.models.presets import Preset

SIZES = {
    "download": "computed from the parameters: policy in bf16, tracker in fp32",
    "GPU": "the weights alone, computed",
    "CPU": "the weights alone in fp32, computed; half of it with --precision bf16",
}
"""Columns of sizes, and what they are."""

COLUMNS = ("", "preset", "policy", "tracker", *(f"{name} GB" for name in SIZES), "downloaded", "license")

YOURS = "given by you"
"""In place of a policy that a preset leaves to the user."""

app = new_group(
    "models",
    "list, choose and download models",
    "Lists presets: a policy with a tracker. The one in use has a *. Sizes are computed from numbers of parameters; "
    "those of GPU and CPU are of the weights alone.",
    "ACTION",
)

Name = Annotated[str, argument(text, "NAME", "name of a preset")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> int:
    """Lists presets if no action is given."""
    from thinkseg.models.choice import choose
    from thinkseg.models.presets import presets

    if not context.invoked_subcommand:
        used = choose().preset.value
        print(table(COLUMNS, [_row(name, preset, name == used) for name, preset in presets().items()], (4, 5, 6)))
        print("thinkseg models show NAME: details; use NAME: makes it the default; fetch NAME: downloads it")
    return 0


@command(app, "show one preset")
def show(name: Name) -> int:
    """Prints all that is known of the preset NAME, with published scores and their source."""
    from thinkseg.models.presets import preset_named

    preset = preset_named(name)
    fields = preset.model_dump(exclude={"parameters", "scores"}, exclude_none=True)
    lines = {key: _plain(value) for key, value in {**fields, "policy": preset.policy or YOURS}.items()}
    for label, size in zip(SIZES, _sizes(preset), strict=True):
        lines[label] = f"{size} GB ({SIZES[label]})"
    lines["downloaded"] = _downloaded(preset)
    for score in preset.scores:
        lines[score.benchmark] = f"J&F {score.j_and_f:.1f} ({score.source})"
    print(table((name, ""), [(key.replace("_", " "), value) for key, value in lines.items()]))
    return 0


@command(app, "use a preset by default")
def use(
    name: Name,
    policy: Annotated[
        str | None,
        option(text, "NAME", "policy in place of the preset's: a folder, a hub name or openai:MODEL@BASE_URL"),
    ] = None,
) -> int:
    """Makes the preset NAME the default of `segment` and of thinkseg.Segmenter in Python.

    Writes it to the user's file of settings, in place of an earlier preset, policy, tracker and chain.
    """
    from thinkseg.models import check_policy
    from thinkseg.models.choice import choose
    from thinkseg.models.presets import preset_named
    from thinkseg.storage.user_settings import store

    preset = preset_named(name)
    if policy:
        check_policy(policy)
        policy = str(Path(policy).resolve()) if os.path.isdir(policy) else policy
    elif not preset.policy:
        raise SettingsError(f"--policy: is missing; the preset {name} needs one: {preset.summary}")
    file = store({"preset": name, "policy": policy, "tracker": None, "chain": None})
    say(f"wrote {file}")
    held = choose()
    if held.preset.value != name:
        warn(f"{held.preset.source} is set to {held.preset.value}, and goes before this file")
    if missing := _missing(preset.model_copy(update={"policy": policy or preset.policy})):
        say(f"not downloaded yet: {', '.join(missing)}; `thinkseg models fetch {name}` does so")
    return 0


@command(app, "download a preset")
def fetch(name: Name) -> int:
    """Downloads the policy and the tracker of the preset NAME to the cache of the hub.

    Rerun after an interruption, it keeps the files that are complete.
    """
    from thinkseg.models.hub import fetch
    from thinkseg.models.presets import preset_named

    preset = preset_named(name)
    model_options.hide_bars()
    for model in _missing(preset):
        fetch(model, partial(_announce, model))
    say(f"{name}: downloaded" if preset.policy else f"{name}: the tracker is downloaded; the policy is yours to give")
    return 0


def _announce(model: str, size: int) -> None:
    say(f"downloading {model}: {size / 1e9:.1f} GB")


def _row(name: str, preset: Preset, used: bool) -> tuple[str, ...]:
    names = ("*" if used else "", name, preset.policy or YOURS, preset.tracker)
    return (*names, *_sizes(preset), _downloaded(preset), preset.license or "-")


def _sizes(preset: Preset) -> list[str]:
    sizes = preset.sizes_gb()
    return [f"{size:.1f}" for size in sizes] if sizes else ["-"] * len(SIZES)


def _downloaded(preset: Preset) -> str:
    missing, all_models = _missing(preset), _downloadable(preset)
    if not all_models:
        return "bundled"
    return "no" if missing == all_models else f"no {' '.join(missing)}" if missing else "yes"


def _missing(preset: Preset) -> list[str]:
    """The models of a preset that are neither a folder nor in the cache."""
    from thinkseg.models.hub import is_complete

    return [name for name in _downloadable(preset) if not is_complete(name)]


def _downloadable(preset: Preset) -> list[str]:
    from thinkseg.models import is_bundled

    names = [preset.policy, preset.tracker]
    return [
        name for name in names if name and name != "flow" and not is_bundled(name) and not name.startswith("openai:")
    ]


def _plain(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
