"""Rewards for the format of replies, whatever their content.

The tags around thinking and answer are one half of a reply's format, the fields of the answer the other. The second
reply of the chain `revseg` has no tags, so its fields are all of its format. A keyframe that was not shown, or a box
without area, is content: other rewards score it.
"""

from __future__ import annotations

from thinkseg.rewards.rollout import Rollout

WITHOUT_TAGS = {"truncated", "invalid_tags"}
"""Reasons of failure (`thinkseg.chains.parsing.REASONS`) that score 0."""

WITHOUT_FIELDS = {"answer_too_long", "invalid_json", "invalid_fields", "invalid_boxes"}
"""Reasons of failure that score 0.5 if the format has tags, else 0."""


def format_strict(rollout: Rollout) -> float:
    """R_f = [all replies have the required tags and fields, and no turn is missing].

    Source: Veason-R1, arXiv 2508.11538, section 3.3.
    """
    return float(format_graded(rollout) == 1)


def format_graded(rollout: Rollout) -> float:
    """r_f = mean over the turns of the dialogue of the share of the format that the reply has.

    A turn that was not reached, because the reply before it failed, counts 0. Source: r_f of ReVSeg, arXiv 2512.02835,
    which leaves the grading open; the halves are those of Veason-R1's released code.
    """
    outcome = rollout.outcome
    if outcome.failure is None:
        return 1.0
    # The dialogue ends at the reply that failed, so all replies before it are complete.
    complete = len(outcome.replies) - 1
    score = complete + _failed_reply_score(outcome.failure, has_tags=complete == 0)
    return score / (len(outcome.replies) + outcome.num_unasked_turns)


def _failed_reply_score(reason: str, has_tags: bool) -> float:
    """Returns the share of the format that a reply has. has_tags: its format includes tags."""
    if reason in WITHOUT_TAGS:
        return 0.0
    if reason in WITHOUT_FIELDS:
        return 0.5 if has_tags else 0.0
    return 1.0
