"""Verification of an annotator's reply against the ground truth.

A reply is kept if no reason speaks against it. Positions and counts are verified in the last two steps, except in
sentences about other frames than the keyframe. The rules are strict: they lose correct replies rather than keep wrong
ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thinkseg.annotation import claims
from thinkseg.annotation.prompts import Steps, parse_steps
from thinkseg.annotation.tasks import keyframe_label
from thinkseg.data.cot import CotSample
from thinkseg.ops.boxes import iou_matrix
from thinkseg.ops.chat_text import TAGS
from thinkseg.types import Reply

REASONS: dict[str, str] = {
    "target_not_visible": "no target is visible in any annotated frame",
    "too_many_targets": "the keyframe shows more targets than an answer can contain",
    "invalid_query": "the query is empty, too long or not valid text",
    "truncated": "the reply reached the token limit",
    "invalid_format": "the reply does not consist of the three steps",
    "invalid_length": "the thinking is too short or too long",
    "wrong_keyframe": "the keyframe is not named, or the last step names another frame",
    "wrong_position": "a part of the frame is named that contains no target",
    "wrong_boxes": "the boxes do not match the targets",
    "wrong_count": "a stated number of targets is wrong",
    "mentions_overlay": "outlines or other overlays are mentioned, which the sample does not show",
    "wrong_presence": "the last step denies targets that exist, or no step denies targets that do not",
}
"""Why a question has no sample. The first three apply before an annotator is prompted."""

MIN_WORDS, MAX_WORDS = 12, 400
"""Of the thinking."""

CENTER_TOLERANCE = 0.05
"""Fraction of a side by which a box center may cross the middle of the frame and still be on either side."""

MIN_IOU = 0.5
"""Of a box with a target's."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The ground truth of a reply.

    draft: the sample without its thinking. num_objects: targets in the whole video. limit_wh: largest x and y of boxes
    in the thinking.
    """

    draft: CotSample
    num_objects: int
    limit_wh: tuple[int, int]


def check_reply(reply: Reply, truth: Truth) -> tuple[Steps | None, list[str]]:
    """Returns the steps of a reply, None if they cannot be parsed, and the keys of `REASONS` against keeping it."""
    steps = parse_steps(reply.text)
    if reply.truncated or steps is None or any(tag in steps.thinking for tag in TAGS):
        return None, ["truncated" if reply.truncated else "invalid_format"]
    found = {
        "invalid_length": not MIN_WORDS <= len(steps.thinking.split()) <= MAX_WORDS,
        "mentions_overlay": bool(claims.overlay_words(steps.thinking, truth.draft.query)),
    }
    if truth.draft.keyframe is None:
        found["wrong_presence"] = not claims.denies(f"{steps.reason} {steps.place}")
    else:
        text = _text_about_keyframe(steps, truth.draft)
        found |= {
            "wrong_keyframe": not _names_keyframe(steps, truth.draft),
            "wrong_position": _has_wrong_position(text, truth.draft),
            "wrong_boxes": _has_wrong_boxes(steps.place, truth),
            "wrong_count": _has_wrong_count(text, truth),
            "wrong_presence": claims.denies_targets(steps.place),
        }
    return steps, [reason for reason in REASONS if found.get(reason)]


def _named_frames(text: str, draft: CotSample) -> set[float]:
    """Returns the labels, as numbers, of the shown frames that a text names."""
    return claims.named_frames(text, draft.label_unit) & set(map(float, draft.labels))


def _keyframe(draft: CotSample) -> set[float]:
    return {float(label) for label in (keyframe_label(draft),) if label is not None}


def _names_keyframe(steps: Steps, draft: CotSample) -> bool:
    """Returns whether the last two steps name the keyframe and the last step names no other frame."""
    named = _named_frames(f"{steps.reason} {steps.place}", draft)
    return _keyframe(draft) <= named and _named_frames(steps.place, draft) <= _keyframe(draft)


def _text_about_keyframe(steps: Steps, draft: CotSample) -> str:
    """Returns the sentences of the last two steps that name no other frame."""
    sentences = (*claims.sentences(steps.reason), *claims.sentences(steps.place))
    return " ".join(sentence for sentence in sentences if _named_frames(sentence, draft) <= _keyframe(draft))


def _has_wrong_position(text: str, draft: CotSample) -> bool:
    """Returns whether a text names a part of the frame that contains no box center."""
    x, y = (draft.boxes.reshape(-1, 2, 2).mean(axis=1) / np.array(draft.size_wh)).T
    contains = {
        "left": x <= 0.5 + CENTER_TOLERANCE,
        "right": x >= 0.5 - CENTER_TOLERANCE,
        "top": y <= 0.5 + CENTER_TOLERANCE,
        "bottom": y >= 0.5 - CENTER_TOLERANCE,
    }
    return not all(np.all([contains[side] for side in part], axis=0).any() for part in claims.sides(text))


def _has_wrong_boxes(text: str, truth: Truth) -> bool:
    """Returns whether a text contains boxes that do not match the targets one to one."""
    boxes, true_boxes = claims.boxes(text), truth.draft.boxes
    if not len(boxes):
        return False
    scale = np.array(truth.draft.size_wh * 2) / np.array(truth.limit_wh * 2)
    matches = iou_matrix(boxes * scale, true_boxes) >= MIN_IOU
    return len(boxes) != len(true_boxes) or not (matches.any(axis=0).all() and matches.any(axis=1).all())


def _has_wrong_count(text: str, truth: Truth) -> bool:
    """Returns whether a text states a count that is true neither of the video nor of the keyframe."""
    true_counts = {truth.num_objects, len(truth.draft.boxes)}
    return any(count not in true_counts for count in claims.target_counts(text, truth.draft.query))
