"""One question, two turns: first when, then where (ReVSeg, arXiv 2512.02835).

In: a sample and a view. Out: the chain that shows sampled frames small and has one of them chosen and the targets in it
described, then shows that frame alone and large, and has the targets boxed.

Beyond the paper, there may be several targets, and there may be none, which ends the dialogue after its first turn. As
in the `veason` chain the question comes last, so that all questions about one video share what comes before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import UNITS, Shown, checked_query, show
from thinkseg.chains.parsing import BOX, DESCRIPTION, FRAME, parse_boxes, parse_choice
from thinkseg.errors import AnswerError
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
"""What is asked of the policy in either turn. The examples cannot be parsed, so that repeating them is no answer."""


def revseg(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """Asks twice; a `thinkseg.types.ChainFn`.

    indices: the frames to show first, strictly ascending; `view.num_frames` evenly spread ones unless given.
    Raises SettingsError if the query cannot be asked. Raises AnswerError if a reply cannot be used; that of a second
    reply holds the keyframe which the first one chose.
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
    """The first turn: instruction, then number, time and image of each frame, then nothing but the question."""
    content: list[str | np.ndarray] = [WHEN]
    for number, (label, image) in enumerate(zip(shown.labels, images, strict=True)):
        content += (f"frame {number}, {label} s:" if shown.label_unit == "seconds" else f"frame {number}:", image)
    return Turn((*content, f"Question: {query}"))


def ask_where(description: str, shown: Shown, image: np.ndarray) -> Turn:
    """The second turn: the chosen frame, then what to find in it."""
    return Turn((image, WHERE.format(description=description, units=UNITS[shown.coordinates], box=BOX)))
