"""Models by name: `load_policy` and `load_tracker`. Importing this loads none of their libraries."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import ChainFn, Coordinates, Policy, Tracker

_ASSETS = Path(__file__).parent.parent / "assets"

BUNDLED = {"shapes": _ASSETS / "shapes-policy", "shapes-revseg": _ASSETS / "shapes-revseg-policy"}
"""Policies inside the package, by name: one that answers in one turn, and one in the two of the chain revseg."""


def bundled_policy_for(chain: str | ChainFn) -> str:
    """The policy inside the package that knows how to answer a chain: by its name, or one of your own in one turn."""
    return "shapes-revseg" if chain == "revseg" else "shapes"


def resolve_model(name: str) -> str | Path:
    """What a policy in this process is loaded from: the folder of one that ships, else the name as it is."""
    return BUNDLED.get(name, name)


def load_policy(name: str, coordinates: Coordinates | None = None, **settings: Any) -> Policy:
    """A policy by name: one of `BUNDLED`, a folder in the ordinary layout, a hub name ("owner/model"), or a served
    model ("openai:MODEL@BASE_URL").

    coordinates: how the model writes boxes, where it is not as its kind does.
    settings: temperature, max_new_tokens, seed; precision and device of a model in this process, as
    `thinkseg.models.policies.qwen.policy.QwenPolicy.load` takes them; jpeg_quality and more of a served one, as
    `thinkseg.models.policies.endpoint.EndpointPolicy.connect` takes them.
    Raises ModelError if there is no such policy or it cannot be loaded, SettingsError for settings it cannot have.
    """
    if name.startswith("openai:"):
        return _served(name, coordinates, settings)
    if settings.pop("jpeg_quality", None) is not None:
        raise SettingsError(
            f"{name} is not a served model: pictures stay in this process, leave out their JPEG quality"
        )
    policy = _local(name, settings)
    if coordinates:
        policy.coordinates, policy.view = coordinates, replace(policy.view, coordinates=coordinates)
    return policy


def _served(name: str, coordinates: Coordinates | None, settings: dict[str, Any]) -> Policy:
    from thinkseg.models.policies.endpoint import EndpointPolicy

    # Where a served model runs is its server's choice; a tracker in this process may still be told.
    settings = {option: value for option, value in settings.items() if option not in ("device", "precision")}
    return EndpointPolicy.connect(name, coordinates, **settings)


def _local(name: str, settings: dict[str, Any]) -> Policy:
    from thinkseg.models.policies.qwen.policy import QwenPolicy

    place = resolve_model(name)
    if not os.path.isdir(place):
        if name in BUNDLED:
            raise ModelError(f"the policy {name!r} is missing from this installation: install thinkseg again")
        if not _is_hub_name(name):
            raise ModelError(
                f"no policy {name!r}: it is neither one that ships ({', '.join(BUNDLED)}), a folder, an owner/model"
                " name on the hub, nor openai:MODEL@BASE_URL"
            )
    policy = QwenPolicy.load(place, **settings)
    policy.name = name
    return policy


def load_tracker(name: str, **settings: Any) -> Tracker:
    """A tracker by name: "flow", which needs no weights, or a SAM 2 or one of its kin, by its folder in the ordinary
    layout or its hub name ("facebook/sam2.1-hiera-large").

    settings: arguments of `thinkseg.models.trackers.sam2.Sam2Tracker.load`; the flow tracker has none. Raises
    ModelError if there is no such tracker or it cannot be loaded.
    """
    check_tracker(name)
    if name == "flow":
        from thinkseg.models.trackers.flow.tracker import FlowTracker

        return FlowTracker()
    from thinkseg.models.trackers.sam2 import Sam2Tracker

    return Sam2Tracker.load(name, **settings)


def check_tracker(name: str) -> None:
    """Raises ModelError for what cannot be a tracker's name, without loading anything."""
    if name != "flow" and not os.path.isdir(name) and not _is_hub_name(name):
        raise ModelError(f"no tracker {name!r}: it is neither flow, a folder, nor an owner/model name on the hub")


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and all(name.split("/")) and len(name) <= 200
