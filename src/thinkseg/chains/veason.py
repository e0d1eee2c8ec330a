"""The chain of Veason-R1 (arXiv 2508.11538): think, choose a keyframe and box the targets on it, in one turn.

Its wording is `View.wording.veason`. The built-in one has the query last, so that prompts of the same video share a
prefix, and an inference engine encodes the frames once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import Shown, checked_query, show
from thinkseg.chains.parsing import parse_answer
from thinkseg.chains.repair import ANSWER_FORM, repairing
from thinkseg.chains.turns import query_turn
from thinkseg.types import Chain, Turn, VideoSample, View


def veason(sample: VideoSample, view: View, indices: Sequence[int] | None = None) -> Chain:
    """The chain, a `thinkseg.types.ChainFn`.

    indices: frames to show, strictly ascending (default: `view.num_frames` evenly spaced ones).
    Raises SettingsError for an invalid query, AnswerError for an invalid reply.
    """
    query = checked_query(sample.query)
    shown, images = show(sample.video, view, indices)
    reply = yield ask(query, shown, images, view)
    return parse_answer(reply, shown)


def ask(query: str, shown: Shown, images: Sequence[np.ndarray], view: View) -> Turn:
    """Makes the turn about the frames shown, in the wording of a view."""
    wording = view.wording.veason
    return query_turn(wording.prompt, wording, query, shown, images, repairing(ANSWER_FORM, shown))
