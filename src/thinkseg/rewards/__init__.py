"""How good an attempt at a question is, as numbers in [0, 1]: rewards by name, and weights that choose among them.

In: a `Rollout`, what a policy was asked and what came of it. Out: a number, or None where the question has no meaning.
Rewards are pure functions. docs/methods.md has their equations and where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from thinkseg.errors import SettingsError
from thinkseg.rewards.reply_format import format, format_graded
from thinkseg.rewards.revseg import box_hit, keyframe_present, keyframe_soft
from thinkseg.rewards.rollout import Prompt, Reward, Rollout
from thinkseg.rewards.veason import boxes, consistency, keyframe

__all__ = ["REWARDS", "Prompt", "Reward", "Rollout", "checked_weights"]

REWARDS: dict[str, Reward] = {
    "format": format,
    "keyframe": keyframe,
    "boxes": boxes,
    "consistency": consistency,
    "format_graded": format_graded,
    "keyframe_soft": keyframe_soft,
    "keyframe_present": keyframe_present,
    "box_hit": box_hit,
}
"""Every reward by the name a recipe gives its weight: first Veason-R1's, then ReVSeg's."""


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """The rewards that count, with what each is multiplied by; one that is left out or has weight 0 is not computed.

    Raises SettingsError for a name that is not in `REWARDS`, a weight that is no number of at least 0, or if no reward
    is left.
    """
    for name, weight in weights.items():
        if name not in REWARDS:
            raise SettingsError(f"there is no reward {name!r}; there are: {', '.join(REWARDS)}")
        # True is a number to Python, and more likely a slip than a weight.
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise SettingsError(f"reward {name!r} has the weight {weight!r}; give a number of at least 0")
    chosen = {name: float(weight) for name, weight in weights.items() if weight}
    if not chosen:
        raise SettingsError(f"no reward has a weight above 0; give one to any of: {', '.join(REWARDS)}")
    return chosen
