"""Models by name: `load_policy` and `load_tracker`. Importing this loads none of their libraries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from thinkseg.errors import ModelError
from thinkseg.types import Policy, Tracker

SHIPPED = {"shapes": Path(__file__).parent.parent / "assets" / "shapes-policy"}
"""Policies inside the package, by name."""


def load_policy(name: str, **settings: Any) -> Policy:
    """A policy by name: one that ships ("shapes"), a folder in the ordinary layout, or a hub name ("owner/model").

    settings: precision, device, temperature, max_new_tokens, seed, as `thinkseg.models.policy.QwenPolicy.load` takes
    them. Raises ModelError if there is no such policy or it cannot be loaded.
    """
    from thinkseg.models.policy import QwenPolicy

    place: str | Path = SHIPPED.get(name, Path(name))
    if not os.path.isdir(place):
        if name in SHIPPED:
            raise ModelError(f"the policy {name!r} is missing from this installation: install thinkseg again")
        if name.count("/") != 1 or not all(name.split("/")) or len(name) > 200:
            raise ModelError(
                f"no policy {name!r}: it is neither one that ships ({', '.join(SHIPPED)}), a folder, nor an owner/model"
                " name on the hub"
            )
        place = name
    policy = QwenPolicy.load(place, **settings)
    policy.name = name
    return policy


def load_tracker(name: str) -> Tracker:
    """A tracker by name: "flow", which needs no weights. Raises ModelError for any other."""
    if name != "flow":
        raise ModelError(f"no tracker {name!r}; there is: flow")
    from thinkseg.models.flow import FlowTracker

    return FlowTracker()
