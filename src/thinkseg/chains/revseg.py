"""The chain of ReVSeg (arXiv 2512.02835): choose a keyframe in the first turn, box the targets in the second.

The first turn shows sampled frames; the policy chooses one and describes the targets in it. The second turn shows that
frame at a larger size; the policy boxes the targets.

Extensions of the paper: several targets, and no target, which ends the dialogue after the first turn. As in `veason`,
the query comes last, so that prompts of the same video share a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import UNITS, Shown, checked_query, show
from thinkseg.chains.parsing import BOX, DESCRIPTION, FRAME, parse_boxes, parse_choice
from thinkseg.chains.repair import BOXES_FORM, CHOICE_FORM, repairing
from thinkseg.errors import AnswerError
from thinkseg.ops.chat_text import escape_control_tokens
from thinkseg.types import Answer, Chain, Turn, VideoSample, View

WHEN = (
    "Look at these video frames. Inside <think> tags, reason about what the question means, and compare the frames to "
    "find which object or objects it asks for. Choose the frame in which they are easiest to outline: well in sight, "
    "large, sharp and little hidden. Then answer inside <answer> tags with the number of that frame and with how they "
    "look there, in a few words that fit nothing else:\n"
    f'<think>...</think><answer>[{{"{FRAME}": N, "{DESCRIPTION}": "..."}}]</answer>\n'
    "If there is no such object, the list is empty."
)
WHERE = (
    'This is that frame, larger. Find "{description}" and answer with nothing but JSON, one box for each target, in '
    '{units}:\n[{{"{box}": [x1, y1, x2, y2]}}, ...]'
)
"""Instructions of the two turns. Their examples do not parse, so that copying them is not an answer."""


def revseg(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """The chain, a `thinkseg.types.ChainFn`.

    indices: frames of the first turn, strictly ascending (default: `view.num_frames` evenly spaced ones).
    Raises SettingsError for an invalid query, AnswerError for an invalid reply. The error of a second reply has the
    keyframe of the first.
    """
    query = checked_query(sample.query)
    shown, images = show(sample.video, view.overview, indices)
    reply = yield ask_when(query, shown, images)
    try:
        choice = parse_choice(reply, shown)
    except AnswerError as error:
        error.num_unasked_turns = 1
        raise
    if choice.keyframe is None:
        return Answer(choice.thinking, None, np.zeros((0, 4), np.float32))
    frame, (image,) = show(sample.video, view.closeup, [choice.keyframe])
    reply = yield ask_where(choice.description, frame, image)
    try:
        boxes = parse_boxes(reply, frame)
    except AnswerError as error:
        error.keyframe = choice.keyframe
        raise
    return Answer(choice.thinking, choice.keyframe, boxes)


def ask_when(query: str, shown: Shown, images: Sequence[np.ndarray]) -> Turn:
    """Makes the first turn: the instruction, number, time and image per frame, and the query without control tokens."""
    content: list[str | np.ndarray] = [WHEN]
    for number, (label, image) in enumerate(zip(shown.labels, images, strict=True)):
        content += (f"frame {number}, {label} s:" if shown.label_unit == "seconds" else f"frame {number}:", image)
    return Turn((*content, f"Question: {escape_control_tokens(query)}"), repairing(CHOICE_FORM, shown))


def ask_where(description: str, shown: Shown, image: np.ndarray) -> Turn:
    """Makes the second turn: the chosen frame, and the description of the targets without control tokens."""
    text = escape_control_tokens(description)
    instruction = WHERE.format(description=text, units=UNITS[shown.coordinates], box=BOX)
    return Turn((image, instruction), repairing(BOXES_FORM, shown))
