"""View and coordinates by model family, which a served model's name gives away.

Wrong coordinates raise no error, they only misplace every box. So they are never guessed: they are documented for the
family, or given by the user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from thinkseg.models.policies.qwen.checkpoint import COORDINATES, DEFAULT_VIEW
from thinkseg.ops.chat_text import THINK
from thinkseg.types import Coordinates, View


@dataclass(frozen=True, slots=True)
class Traits:
    """How a model is shown a video and writes boxes (`view.coordinates`).

    size_multiple: sides of images must be multiples of it, or the server resizes them.
    opening: the start of every reply that its chat template puts into the prompt, as the tag that opens the thinking.
    """

    size_multiple: int
    view: View
    opening: str = ""

    def with_coordinates(self, coordinates: Coordinates | None) -> Traits:
        """The same traits with other coordinates; unchanged if None."""
        return replace(self, view=replace(self.view, coordinates=coordinates)) if coordinates else self


_QWEN3_VL = Traits(32, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen3_vl"]))

FAMILIES: dict[str, Traits] = {
    r"qwen[-_ ]?2[._-]?5[-_ ]?vl": Traits(28, replace(DEFAULT_VIEW, coordinates=COORDINATES["qwen2_5_vl"])),
    r"qwen[-_ ]?3[-_ ]?vl.*thinking": replace(_QWEN3_VL, opening=f"{THINK}\n"),
    r"qwen[-_ ]?3[-_ ]?vl": _QWEN3_VL,
}
"""Families with documented coordinates, by a pattern in the names of their models. The first match counts."""

UNKNOWN = Traits(1, DEFAULT_VIEW)
"""Default for other models, whose coordinates the user must give."""


def family_of(name: str) -> Traits | None:
    """The traits of the family that a model's name contains; None if it contains none of `FAMILIES`."""
    for pattern, traits in FAMILIES.items():
        if re.search(pattern, name, re.IGNORECASE):
            return traits
    return None
