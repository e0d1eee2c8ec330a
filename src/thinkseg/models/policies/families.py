"""What must be known of a model to show it pictures and to read its boxes.

In: the name of a model. Out: its `Traits`. A wrong convention for coordinates is silent: every box is read, and lies
somewhere else. So none is ever guessed: it is known of a family, or given by the user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from thinkseg.models.policies.qwen.checkpoint import COORDINATES, DEFAULT_VIEW
from thinkseg.types import Coordinates, View


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
