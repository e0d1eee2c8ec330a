"""The chain of ReVSeg (arXiv 2512.02835): choose a keyframe in the first turn, box the targets in the second.

The first turn shows sampled frames; the policy chooses one and describes the targets in it. The second turn shows that
frame at a larger size; the policy boxes the targets.

Extensions of the paper: several targets, and no target, which ends the dialogue after the first turn. The wording is
`View.wording.revseg`; as in `veason`, the built-in one has the query last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import Shown, checked_query, show
from thinkseg.chains.parsing import parse_boxes, parse_choice
from thinkseg.chains.repair import BOXES_FORM, CHOICE_FORM, repairing
from thinkseg.chains.turns import image_turn, query_turn
from thinkseg.errors import AnswerError
from thinkseg.types import Answer, Chain, Turn, VideoSample, View


def revseg(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """The chain, a `thinkseg.types.ChainFn`.

    indices: frames of the first turn, strictly ascending (default: `view.num_frames` evenly spaced ones).
    Raises SettingsError for an invalid query, AnswerError for an invalid reply. The error of a second reply has the
    keyframe of the first.
    """
    query = checked_query(sample.query)
    shown, images = show(sample.video, view.overview, indices)
    reply = yield ask_when(query, shown, images, view)
    try:
        choice = parse_choice(reply, shown)
    except AnswerError as error:
        error.num_unasked_turns = 1
        raise
    if choice.keyframe is None:
        return Answer(choice.thinking, None, np.zeros((0, 4), np.float32))
    frame, (image,) = show(sample.video, view.closeup, [choice.keyframe])
    reply = yield ask_where(choice.description, frame, image, view)
    try:
        boxes = parse_boxes(reply, frame)
    except AnswerError as error:
        error.keyframe = choice.keyframe
        raise
    return Answer(choice.thinking, choice.keyframe, boxes)


def ask_when(query: str, shown: Shown, images: Sequence[np.ndarray], view: View) -> Turn:
    """Makes the first turn, about the frames shown, in the wording of a view."""
    wording = view.wording.revseg
    return query_turn(wording.when, wording, query, shown, images, repairing(CHOICE_FORM, shown))


def ask_where(description: str, shown: Shown, image: np.ndarray, view: View) -> Turn:
    """Makes the second turn, about the chosen frame, in the wording of a view."""
    wording = view.wording.revseg
    return image_turn(wording.where, wording, description, shown, image, repairing(BOXES_FORM, shown))
