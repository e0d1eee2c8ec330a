"""Loads policies and trackers by name. Importing this module imports none of their libraries."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import ChainFn, Clock, Coordinates, Policy, Tracker

ASSETS = Path(__file__).parent.parent / "assets"

BUNDLED = {"shapes": ASSETS / "shapes-policy", "shapes-revseg": ASSETS / "shapes-revseg-policy"}
"""Folders of the bundled policies by name: one for single-turn chains, one for the two turns of revseg."""


BUNDLED_WARNING = (
    "the bundled policy knows colored shapes alone, and its answers about any other video mean nothing;"
    " `thinkseg models` lists presets for real videos, such as small and quality"
)
"""Said of every answer of a bundled policy about anything but clips of shapes."""


def is_bundled(policy: str) -> bool:
    """Whether a policy is a bundled one, by its name or its folder."""
    return policy in BUNDLED or Path(policy) in BUNDLED.values()


def bundled_policy_for(chain: str | ChainFn) -> str:
    """The bundled policy that is trained for a chain; for a chain function, the single-turn one."""
    return "shapes-revseg" if chain == "revseg" else "shapes"


def resolve_model(name: str) -> str | Path:
    """The folder of a bundled policy; any other name unchanged."""
    return BUNDLED.get(name, name)


def load_policy(name: str | Path, coordinates: Coordinates | None = None, **settings: Any) -> Policy:
    """Loads a policy: one of `BUNDLED`, a `save_pretrained` folder, a hub name ("owner/model"), or a served model
    ("openai:MODEL@BASE_URL").

    coordinates: how the model writes boxes (default: as its family does).
    settings: arguments of `thinkseg.models.policies.qwen.policy.QwenPolicy.load` for a local model, or of
        `thinkseg.models.policies.endpoint.EndpointPolicy.connect` for a served one.
    Raises ModelError if the policy does not exist or cannot be loaded, SettingsError for invalid settings.
    """
    name = str(name)
    check_policy(name)
    if name.startswith("openai:"):
        return _served(name, coordinates, settings)
    if settings.pop("jpeg_quality", None) is not None:
        raise SettingsError(f"{name} is not a served model: omit jpeg_quality")
    policy = _local(name, settings)
    if coordinates:
        policy.coordinates, policy.view = coordinates, replace(policy.view, coordinates=coordinates)
    return policy


def _served(name: str, coordinates: Coordinates | None, settings: dict[str, Any]) -> Policy:
    from thinkseg.models.policies.endpoint import EndpointPolicy

    # These are for a local model: the server decides where its model runs, and what it caches.
    local = ("device", "precision", "feature_cache_bytes")
    settings = {option: value for option, value in settings.items() if option not in local}
    return EndpointPolicy.connect(name, coordinates, **settings)


def _local(name: str, settings: dict[str, Any]) -> Policy:
    from thinkseg.models.policies.qwen.policy import QwenPolicy

    policy = QwenPolicy.load(resolve_model(name), **settings)
    policy.name = name
    return policy


def check_policy(name: str) -> None:
    """Raises ModelError if a name has none of the forms of a policy's name. Loads nothing."""
    if name.startswith("openai:") or os.path.isdir(resolve_model(name)):
        return
    if name in BUNDLED:
        raise ModelError(f"bundled policy {name!r} is missing from this installation: reinstall thinkseg")
    if not _is_hub_name(name):
        from thinkseg.models.policies.endpoint import without_secrets

        raise ModelError(
            f"unknown policy {without_secrets(name)!r}: must be {', '.join(BUNDLED)}, a folder, an owner/model name on"
            " the hub, or openai:MODEL@BASE_URL"
        )


def clock_of(name: str) -> Clock:
    """Returns the labels of frames that a policy was trained with, "auto" if it does not state them.

    Reads no weights. Raises ModelError as `check_policy` does, and for an invalid description.
    """
    check_policy(name)
    if name.startswith("openai:"):
        return "auto"
    from thinkseg.models.policies.qwen.checkpoint import load_view

    return load_view(resolve_model(name)).label_unit


def load_tracker(name: str | Path, **settings: Any) -> Tracker:
    """Loads a tracker: "flow", which needs no weights, or a SAM 2 or EdgeTAM, from a `save_pretrained` folder or by hub
    name ("facebook/sam2.1-hiera-large").

    settings: arguments of `thinkseg.models.trackers.sam2.Sam2Tracker.load`; ignored for "flow".
    Raises ModelError if the tracker does not exist or cannot be loaded.
    """
    name = str(name)
    check_tracker(name)
    if name == "flow":
        from thinkseg.models.trackers.flow.tracker import FlowTracker

        return FlowTracker()
    from thinkseg.models.trackers.sam2 import Sam2Tracker

    return Sam2Tracker.load(name, **settings)


def check_tracker(name: str) -> None:
    """Raises ModelError if a name has none of the forms of a tracker's name. Loads nothing."""
    if name != "flow" and not os.path.isdir(name) and not _is_hub_name(name):
        raise ModelError(f"unknown tracker {name!r}: must be flow, a folder, or an owner/model name on the hub")


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and all(name.split("/")) and len(name) <= 200
