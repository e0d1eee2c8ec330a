"""Whether a trace may be taught: an annotator's reply and the truth in, reasons against it out.

A trace is kept if there is nothing against it. Positions and numbers are looked for in the steps that are about the
keyframe, but for sentences about other frames; a good trace that puts them oddly is rather lost than a wrong one kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinkseg.annotation import claims
from thinkseg.annotation.prompts import Steps, read_steps
from thinkseg.annotation.tasks import label_of
from thinkseg.chains.parsing import TAGS
from thinkseg.data.cot import CotSample
from thinkseg.ops.boxes import iou_matrix
from thinkseg.types import Reply

REASONS: dict[str, str] = {
    "unseen": "the targets are in sight in no frame whose masks are known",
    "crowded": "there are more targets than an answer can box",
    "query": "the question cannot be asked: it is empty, too long or no text",
    "truncated": "the reply ran into the token limit",
    "form": "the reply does not have the three steps in the form asked for",
    "length": "the thinking is too short to explain anything, or too long to learn",
    "keyframe": "the given keyframe is not named, or the last step is about another frame",
    "position": "a part of the frame is named in which no target is",
    "boxes": "boxes are written that are not those of the targets",
    "count": "a number of targets is stated that is not theirs",
    "drawing": "outlines, rectangles or other marks are mentioned, which the sample does not show",
    "denial": "nothing is said to fit where there are targets, or no word says so where there are none",
}
"""Why there is no sample of a question. The first three are known before an annotator is asked."""

WORDS = (12, 400)
"""Fewest and most words of a trace."""

MIDDLE = 0.05
"""How far beyond the middle, in sides of the frame, the middle of a target may be and still be on either side."""

SAME = 0.5
"""IoU from which a box is that of a target."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a trace is held against.

    draft: the sample without its thinking. num_objects: targets in the whole video.
    limit_wh: far ends of the frame in the units in which a trace would write boxes.
    """

    draft: CotSample
    num_objects: int
    limit_wh: tuple[int, int]


def check(reply: Reply, truth: Truth) -> tuple[Steps | None, list[str]]:
    """The steps of a reply, None if they cannot be read, and all that is against keeping them: keys of `REASONS`."""
    steps = read_steps(reply.text)
    if reply.truncated or steps is None or any(tag in steps.thinking for tag in TAGS):
        return None, ["truncated" if reply.truncated else "form"]
    found = {
        "length": not WORDS[0] <= len(steps.thinking.split()) <= WORDS[1],
        "drawing": bool(claims.marks(steps.thinking, truth.draft.query)),
    }
    if truth.draft.keyframe is None:
        found["denial"] = not claims.denies(f"{steps.reason} {steps.place}")
    else:
        about = _about_keyframe(steps, truth.draft)
        found |= {
            "keyframe": not _names_keyframe(steps, truth.draft),
            "position": _misplaces(about, truth.draft),
            "boxes": _misboxes(steps.place, truth),
            "count": _miscounts(about, truth),
            "denial": claims.finds_nothing(steps.place),
        }
    return steps, [reason for reason in REASONS if found.get(reason)]


def _moments(text: str, draft: CotSample) -> set[float]:
    """The frames that were shown and are named, by the value of their labels."""
    return claims.moments(text, draft.clock) & set(map(float, draft.labels))


def _keyframe(draft: CotSample) -> set[float]:
    return {float(label) for label in (label_of(draft),) if label is not None}


def _names_keyframe(steps: Steps, draft: CotSample) -> bool:
    """Whether the keyframe is named where it is chosen, and the last step is about no other frame."""
    named = _moments(f"{steps.reason} {steps.place}", draft)
    return _keyframe(draft) <= named and _moments(steps.place, draft) <= _keyframe(draft)


def _about_keyframe(steps: Steps, draft: CotSample) -> str:
    """The sentences of the last two steps, but for those about other frames."""
    said = (*claims.sentences(steps.reason), *claims.sentences(steps.place))
    return " ".join(sentence for sentence in said if _moments(sentence, draft) <= _keyframe(draft))


def _misplaces(text: str, draft: CotSample) -> bool:
    """Whether a part of the frame is named in which no target is."""
    x, y = (draft.boxes.reshape(-1, 2, 2).mean(axis=1) / np.array(draft.size_wh)).T
    there = {
        "left": x <= 0.5 + MIDDLE,
        "right": x >= 0.5 - MIDDLE,
        "top": y <= 0.5 + MIDDLE,
        "bottom": y >= 0.5 - MIDDLE,
    }
    return not all(np.all([there[side] for side in part], axis=0).any() for part in claims.sides(text))


def _misboxes(text: str, truth: Truth) -> bool:
    """Whether boxes are written that are not, one for one, those of the targets."""
    written, true = claims.boxes(text), truth.draft.boxes
    if not len(written):
        return False
    scale = np.array(truth.draft.size_wh * 2) / np.array(truth.limit_wh * 2)
    same = iou_matrix(written * scale, true) >= SAME
    return len(written) != len(true) or not (same.any(axis=0).all() and same.any(axis=1).all())


def _miscounts(text: str, truth: Truth) -> bool:
    """Whether a number is stated that is neither that of the targets in the video nor in the keyframe."""
    right = {truth.num_objects, len(truth.draft.boxes)}
    return any(number not in right for number in claims.numbers(text, truth.draft.query))
