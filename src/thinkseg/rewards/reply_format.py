"""Rewards for keeping to the format, whatever is said in it: a rollout in, a number in [0, 1] out.

A reply keeps half of its format with the tags around thinking and answer, and the other half with the fields in the
answer. One that is asked for boxes on a frame already chosen has no tags: its fields are all of its format. Whether a
field names a frame that was shown, or a box that lies in it, is for the other rewards to judge.
"""

from __future__ import annotations

from thinkseg.rewards.rollout import Rollout

WITHOUT_TAGS = {"truncated", "tags"}
"""Reasons of failure (`thinkseg.chains.parsing.REASONS`) of replies that keep no part of the format."""

WITHOUT_FIELDS = {"too_long", "json", "fields", "boxes"}
"""Reasons of failure of replies that keep to the tags alone, if there are to be any."""


def format(rollout: Rollout) -> float:
    """R_f of Veason-R1: 1 if every turn was asked and every reply has its tags and fields, else 0."""
    return float(format_graded(rollout) == 1)


def format_graded(rollout: Rollout) -> float:
    """r_f of ReVSeg: how much of the format is kept, the mean over all turns; one that could not be asked counts 0."""
    outcome = rollout.outcome
    if outcome.failure is None:
        return 1.0
    # The reply that failed is always the last one: the dialogue ends with it.
    kept = len(outcome.replies) - 1 + _kept(outcome.failure, tagged=outcome.keyframe is None)
    return kept / (len(outcome.replies) + outcome.unasked)


def _kept(reason: str, tagged: bool) -> float:
    """The share of the format that is kept by a reply that fails for this reason."""
    if reason in WITHOUT_TAGS:
        return 0.0
    if reason in WITHOUT_FIELDS:
        return 0.5 if tagged else 0.0
    return 1.0
