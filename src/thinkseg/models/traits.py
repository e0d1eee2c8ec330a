"""What must be known of a model to show it pictures and to read its boxes.

In: the name of a model, or what a server of ours says of one. Out: its `Traits`. A wrong convention for coordinates is
silent: every box is read, and lies somewhere else. So none is ever guessed: it is known of a family, or told by the
server or the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from thinkseg.models.qwen import COORDINATES, DEFAULT_VIEW
from thinkseg.types import Coordinates, View

SIZES = ("frame_wh", "overview_wh", "closeup_wh")

MOST_FRAMES, LONGEST_SIDE, LARGEST_MULTIPLE = 1_024, 4_096, 256
"""What a server may say at most: it decides how much memory its clients fill with frames."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How a model is shown a video, and how it writes boxes (`view.coordinates`).

    size_multiple: what the sides of its pictures must be multiples of, lest its server resizes them.
    """

    size_multiple: int
    view: View

    def with_coordinates(self, coordinates: Coordinates | None) -> Traits:
        """The same with another convention; itself if None."""
        return replace(self, view=replace(self.view, coordinates=coordinates)) if coordinates else self


FAMILIES: dict[str, Traits] = {
    r"qwen[-_ ]?2[._-]?5[-_ ]?vl": Traits(28, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen2_5_vl"])),
    r"qwen[-_ ]?3[-_ ]?vl": Traits(32, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen3_vl"])),
}
"""Families of models whose convention is documented, by a pattern in their names."""

UNKNOWN = Traits(1, DEFAULT_VIEW)
"""What is assumed of other models, but for the coordinates, which must be told."""


def family_of(name: str) -> Traits | None:
    """The traits of the family that a model's name says it is of; None if it says none that is known."""
    for pattern, traits in FAMILIES.items():
        if re.search(pattern, name, re.IGNORECASE):
            return traits
    return None


def to_json(traits: Traits) -> dict[str, Any]:
    """Traits as plain JSON values."""
    view = traits.view
    sizes = {name: list(size) for name in SIZES if (size := getattr(view, name))}
    return {
        "coordinates": view.coordinates,
        "size_multiple": traits.size_multiple,
        "view": {"num_frames": view.num_frames, **sizes},
    }


def from_json(value: Any) -> Traits:
    """Reads what `to_json` wrote. Raises ValueError for anything else: a server says it, who may be anyone."""
    told = _mapping(value)
    shown = _mapping(told.get("view"))
    if told.get("coordinates") not in get_args(Coordinates):
        raise ValueError(f"coordinates are one of {get_args(Coordinates)}")
    sizes: dict[str, Any] = {name: _size(shown[name]) for name in SIZES if name in shown}
    if "frame_wh" not in sizes:
        raise ValueError("no frame_wh")
    view = View(_whole(shown.get("num_frames"), MOST_FRAMES), coordinates=told["coordinates"], **sizes)
    return Traits(_whole(told.get("size_multiple"), LARGEST_MULTIPLE), view)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not an object")
    return value


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("a size is [width, height]")
    return _whole(value[0], LONGEST_SIDE), _whole(value[1], LONGEST_SIDE)


def _whole(value: Any, most: int) -> int:
    # Exactly int: True is one to Python, not to us.
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"not a whole number from 1 to {most}")
    return value
