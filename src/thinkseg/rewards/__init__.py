"""Rewards of rollouts by name, and the weights that select them. docs/methods.md gives their equations.

Rewards are pure functions of a `Rollout`, with values in [0, 1]. A reward that does not apply to a prompt is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from thinkseg.errors import SettingsError
from thinkseg.rewards.reply_format import format_graded, format_strict
from thinkseg.rewards.revseg import box_hit, keyframe_present, keyframe_soft
from thinkseg.rewards.rollout import Prompt, RewardFunction, Rollout
from thinkseg.rewards.veason import boxes, consistency, keyframe, keyframe_first

__all__ = ["REWARDS", "Prompt", "Reward", "RewardFunction", "Rollout", "checked_weights"]

VEASON, REVSEG = "Veason-R1, arXiv 2508.11538", "ReVSeg, arXiv 2512.02835"


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward with its symbol in the paper that defines it."""

    function: RewardFunction
    symbol: str
    paper: str


REWARDS: dict[str, Reward] = {
    "format": Reward(format_strict, "R_f", VEASON),
    "keyframe": Reward(keyframe, "R_k", VEASON),
    "boxes": Reward(boxes, "R_s", VEASON),
    "consistency": Reward(consistency, "R_u", VEASON),
    "format_graded": Reward(format_graded, "r_f", REVSEG),
    "keyframe_soft": Reward(keyframe_soft, "r_t", REVSEG),
    "keyframe_present": Reward(keyframe_present, "r_t", REVSEG),
    "box_hit": Reward(box_hit, "r_s", REVSEG),
    "keyframe_first": Reward(keyframe_first, "R_k", VEASON),
}
"""All rewards, by the name that has a weight in a recipe."""


def checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Returns the nonzero weights by reward name. Rewards without a weight are not computed.

    Raises SettingsError for an unknown name, for a weight that is not a number >= 0, or if all weights are 0.
    """
    for name, weight in weights.items():
        if name not in REWARDS:
            raise SettingsError(f"unknown reward {name!r}; must be one of {', '.join(REWARDS)}")
        # In Python True is a number, but as a weight it is more likely a mistake.
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise SettingsError(f"weight of reward {name!r} is {weight!r}; must be a number >= 0")
    chosen = {name: float(weight) for name, weight in weights.items() if weight}
    if not chosen:
        raise SettingsError(f"no reward has a weight > 0; set one of {', '.join(REWARDS)}")
    return chosen
