"""One question, one turn: think, choose the keyframe, box the targets on it (Veason-R1, arXiv 2508.11538).

In: a sample and a view. Out: the chain that shows its frames, each under its timestamp, and reads the reply.

The instruction and the frames come first and the question last, so that all questions about one video share a prefix
and an inference engine encodes the frames once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import UNITS, Shown, checked_query, show
from thinkseg.chains.parsing import BOXES, KEYFRAME, parse_answer
from thinkseg.types import Chain, LabelUnit, Turn, VideoSample, View

INSTRUCTION = (
    "Look at these video frames; before each stands its {clock}. "
    "Inside <think> tags, reason about what the question means and which object or objects it asks for. "
    "Choose the frame that shows them best. "
    "Then answer inside <answer> tags with one box for each target, in {units}:\n"
    f'<think>...</think><answer>{{{{"{KEYFRAME}": T, "{BOXES}": [[x1, y1, x2, y2], ...]}}}}</answer>\n'
    "If there is no such object, T is null and the list is empty."
)
"""What is asked of the policy. The example cannot be parsed, so that repeating it is no answer."""

CLOCKS: dict[LabelUnit, str] = {"seconds": "time in seconds", "index": "number"}
LABELS: dict[LabelUnit, str] = {"seconds": "{} s:", "index": "frame {}:"}


def veason(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """Asks once; a `thinkseg.types.ChainFn`.

    indices: the frames to show, strictly ascending; `view.num_frames` evenly spread ones unless given.
    Raises SettingsError if the query cannot be asked, AnswerError if the reply cannot be used.
    """
    query = checked_query(sample.query)
    shown, images = show(sample.video, view, indices)
    reply = yield ask(query, shown, images)
    return parse_answer(reply, shown)


def ask(query: str, shown: Shown, images: Sequence[np.ndarray]) -> Turn:
    """The turn: instruction, then label and image of each frame, then nothing but the question."""
    content: list[str | np.ndarray] = [
        INSTRUCTION.format(clock=CLOCKS[shown.label_unit], units=UNITS[shown.coordinates])
    ]
    for label, image in zip(shown.labels, images, strict=True):
        content += (LABELS[shown.label_unit].format(label), image)
    return Turn((*content, f"Question: {query}"))
