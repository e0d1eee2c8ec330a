"""Which models are used: from options, the user's settings and presets to the names of a policy and a tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from thinkseg.errors import SettingsError
from thinkseg.models import BUNDLED, bundled_policy_for
from thinkseg.models.hub import is_complete
from thinkseg.models.presets import DEFAULT, Preset, preset_named
from thinkseg.storage.user_settings import Source, UserSettings, user_sources

AUTO, FLOW = "auto", "flow"

VIEW_FIELDS = ("frames", "frame_size", "closeup_size", "label_unit", "prompts")
"""Fields of a preset about how its policy is shown a video."""


class Held(NamedTuple):
    """The value of a setting, and the place it is from."""

    value: str | None
    source: str


@dataclass(frozen=True)
class Choice:
    """What holds for each setting of `UserSettings`.

    shown: the preset whose frames, sizes, labels and wording hold; None: those of the policy.
    note: why the tracker is not that of the preset.
    """

    preset: Held
    policy: Held
    tracker: Held
    chain: Held
    device: Held | None
    precision: Held | None
    shown: Preset | None
    note: str | None

    def policy_name(self) -> str:
        """Returns the name of the policy. Raises SettingsError if the preset leaves it to the user."""
        if self.policy.value is None:
            raise SettingsError(
                f"preset {self.preset.value!r} names no policy: give one with --policy (in Python: policy=)"
            )
        return self.policy.value

    def tracker_name(self) -> str:
        """Returns the name of the tracker."""
        return str(self.tracker.value)

    def chain_name(self) -> str:
        """Returns the name of the chain."""
        return str(self.chain.value)

    def view_settings(self) -> dict[str, Any]:
        """Returns what the preset sets of the view, by the names of its fields."""
        found = {name: getattr(self.shown, name, None) for name in VIEW_FIELDS}
        return {name: value for name, value in found.items() if value is not None}

    def placement(self) -> dict[str, Any]:
        """Returns the device and the precision that are set, as arguments of `load_policy` and `load_tracker`."""
        held = {"device": self.device, "precision": self.precision}
        return {name: one.value for name, one in held.items() if one and one.value}


def choose(options: UserSettings | None = None, only_options: bool = False) -> Choice:
    """Returns what holds: options before variables, variables before the file, and all of them before the preset.

    A preset replaces the policy, tracker and chain of places after its own: `--preset` those of the file. Its chain and
    its view are for its own policy, or for one from the same place; a policy of an earlier place has its own.
    only_options: neither the user's settings nor the content of the cache decide, as for results to be compared.
    Raises SettingsError for invalid settings and unknown presets.
    """
    own = Source(lambda name: name, options or UserSettings())
    sources = [own] if only_options else [own, *user_sources()]
    rank, preset = _first(sources, "preset") or (len(sources), Held(DEFAULT, "default"))
    content = preset_named(str(preset.value), preset.source)
    origin = f"preset {preset.value}"
    sources_until = sources[: rank + 1]
    given = _first(sources_until, "policy")
    suits = given is None or given[0] == rank
    chain = _held(sources_until, "chain") or (Held(content.chain, origin) if suits else Held("veason", "default"))
    policy = given[1] if given else Held(_policy_of(content, str(chain.value)), origin)
    tracker, note = _tracker(_held(sources_until, "tracker"), content, preset, only_options)
    return Choice(
        preset,
        policy,
        tracker,
        chain,
        _held(sources, "device"),
        _held(sources, "precision"),
        content if suits and chain.value == content.chain else None,
        note,
    )


def _first(sources: Sequence[Source], name: str) -> tuple[int, Held] | None:
    for rank, source in enumerate(sources):
        if value := getattr(source.values, name):
            return rank, Held(value, source.label(name))
    return None


def _held(sources: Sequence[Source], name: str) -> Held | None:
    found = _first(sources, name)
    return found[1] if found else None


def _policy_of(preset: Preset, chain: str) -> str | None:
    return bundled_policy_for(chain) if preset.policy in BUNDLED else preset.policy


def _tracker(given: Held | None, preset: Preset, named: Held, only_options: bool) -> tuple[Held, str | None]:
    """The tracker, and why it is not that of the preset."""
    if given and given.value != AUTO:
        return given, None
    name, origin = preset.tracker, f"preset {named.value}"
    if only_options or name == FLOW or is_complete(name):
        return Held(name, origin), None
    return Held(FLOW, f"{origin}: {name} is not downloaded"), (
        f"tracking with flow, because {name} is not downloaded; `thinkseg models fetch {named.value}` downloads it"
    )
