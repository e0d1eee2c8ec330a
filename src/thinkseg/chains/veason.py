"""The chain of Veason-R1 (arXiv 2508.11538): think, choose a keyframe and box the targets on it, in one turn.

The instruction and the frames come first and the query last, so that prompts of the same video share a prefix, and an
inference engine encodes the frames once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import UNITS, Shown, checked_query, show
from thinkseg.chains.parsing import BOXES, KEYFRAME, parse_answer
from thinkseg.chains.repair import ANSWER_FORM, repairing
from thinkseg.ops.chat_text import escape_control_tokens
from thinkseg.types import Chain, LabelUnit, Turn, VideoSample, View

INSTRUCTION = (
    "Look at these video frames; before each stands its {unit}. "
    "Inside <think> tags, reason about what the question means and which object or objects it asks for. "
    "Choose the frame that shows them best. "
    "Then answer inside <answer> tags with one box for each target, in {units}:\n"
    f'<think>...</think><answer>{{{{"{KEYFRAME}": T, "{BOXES}": [[x1, y1, x2, y2], ...]}}}}</answer>\n'
    "If there is no such object, T is null and the list is empty."
)
"""Its example does not parse, so that copying it is not an answer."""

UNIT_NAMES: dict[LabelUnit, str] = {"seconds": "time in seconds", "index": "number"}
LABELS: dict[LabelUnit, str] = {"seconds": "{} s:", "index": "frame {}:"}


def veason(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """The chain, a `thinkseg.types.ChainFn`.

    indices: frames to show, strictly ascending (default: `view.num_frames` evenly spaced ones).
    Raises SettingsError for an invalid query, AnswerError for an invalid reply.
    """
    query = checked_query(sample.query)
    shown, images = show(sample.video, view, indices)
    reply = yield ask(query, shown, images)
    return parse_answer(reply, shown)


def ask(query: str, shown: Shown, images: Sequence[np.ndarray]) -> Turn:
    """Makes the turn: the instruction, label and image per frame, and the query without control tokens."""
    content: list[str | np.ndarray] = [
        INSTRUCTION.format(unit=UNIT_NAMES[shown.label_unit], units=UNITS[shown.coordinates])
    ]
    for label, image in zip(shown.labels, images, strict=True):
        content += (LABELS[shown.label_unit].format(label), image)
    return Turn((*content, f"Question: {escape_control_tokens(query)}"), repairing(ANSWER_FORM, shown))
