"""View and coordinates by model family, which a served model's name gives away.

Wrong coordinates raise no error, they only misplace every box. So they are never guessed: they are documented for the
family, or given by the user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from thinkseg.models.policies.qwen.checkpoint import COORDINATES, DEFAULT_VIEW
from thinkseg.types import Coordinates, View


@dataclass(frozen=True, slots=True)
class Traits:
    """How a model is shown a video and writes boxes (`view.coordinates`).

    size_multiple: sides of images must be multiples of it, or the server resizes them.
    """

    size_multiple: int
    view: View

    def with_coordinates(self, coordinates: Coordinates | None) -> Traits:
        """The same traits with other coordinates; unchanged if None."""
        return replace(self, view=replace(self.view, coordinates=coordinates)) if coordinates else self


FAMILIES: dict[str, Traits] = {
    r"qwen[-_ ]?2[._-]?5[-_ ]?vl": Traits(28, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen2_5_vl"])),
    r"qwen[-_ ]?3[-_ ]?vl": Traits(32, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen3_vl"])),
}
"""Families with documented coordinates, by a pattern in the names of their models."""

UNKNOWN = Traits(1, DEFAULT_VIEW)
"""Default for other models, whose coordinates the user must give."""


def family_of(name: str) -> Traits | None:
    """The traits of the family that a model's name contains; None if it contains none of `FAMILIES`."""
    for pattern, traits in FAMILIES.items():
        if re.search(pattern, name, re.IGNORECASE):
            return traits
    return None
