"""What became of a question, in words and colors: from a row of results to text."""

from __future__ import annotations

from dataclasses import dataclass

from thinkseg.chains.parsing import explained
from thinkseg.evaluation.predictions import REASONS
from thinkseg.ops.chat_text import THINK, THINK_END
from thinkseg.storage.run_folder import Row

MISSING = "–"
"""Text of a value that does not apply."""

GOOD_J = 0.5
"""J from which the scores of a question with a target are printed in green."""

FOUND, MISSED, FALSE_ALARM, NO_TARGET, INVALID = "found", "missed", "false_alarm", "no_target", "invalid"

OUTCOMES = {
    FOUND: "something was found",
    MISSED: "wrong: no target",
    FALSE_ALARM: "wrong: there is no target",
    NO_TARGET: "correct: no target",
    INVALID: "invalid reply or masks",
}
"""What can become of a question; a choice of the page shows the questions of one."""


def outcome(row: Row) -> str:
    """Returns what became of a question, a key of `OUTCOMES`."""
    if row["failure"]:
        return INVALID
    if row["has_target"] is False:
        return NO_TARGET if row["is_empty"] else FALSE_ALARM
    return MISSED if row["has_target"] and row["is_empty"] else FOUND


def verdict(row: Row) -> str:
    """Returns the outcome of one question as text; empty if only its scores say how good the answer is."""
    found = outcome(row)
    if found == INVALID:
        failure = row["failure"]
        return f"no usable masks: {REASONS[failure]}" if failure in REASONS else f"invalid reply: {explained(failure)}"
    if found == MISSED:
        says_so = "replies" in row and row["keyframe"] is None
        return "wrong: answered that there is no target" if says_so else "wrong: no mask in any frame"
    return "" if found == FOUND else OUTCOMES[found]


def is_good(row: Row) -> bool | None:
    """Returns the color of an outcome: whether it is a good one, None if that is unknown."""
    found = outcome(row)
    if found == FOUND:
        return None if row["j"] is None else bool(row["j"] >= GOOD_J)
    return found == NO_TARGET


def scores_text(row: Row) -> str:
    """Returns J and F of a question with a target."""
    return f"J {format_score(row['j'])} · F {format_score(row['f'])}" if row["has_target"] else ""


def format_score(value: float | None) -> str:
    """Returns a score with two decimals, or a dash for None."""
    return MISSING if value is None else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Said:
    """The reply to one turn. thinking: "" if it has none. rest: all of the reply but the thinking."""

    thinking: str
    rest: str

    @classmethod
    def of(cls, reply: str) -> Said:
        """Splits a reply."""
        before, closed, after = reply.partition(THINK_END)
        return cls(before.strip().removeprefix(THINK).strip(), after.strip()) if closed else cls("", reply.strip())
