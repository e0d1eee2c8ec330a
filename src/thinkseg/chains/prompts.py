"""The texts with which a chain prompts a policy, found by running it on a small video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from thinkseg.chains.parsing import DESCRIPTION, FRAME
from thinkseg.errors import AnswerError
from thinkseg.storage.fingerprint import text_fingerprint
from thinkseg.types import ChainFn, Turn, VideoSample, View

REPLY = f'<think>it</think><answer>[{{"{FRAME}": 0, "{DESCRIPTION}": "it"}}]</answer>'
"""Continues a chain of two turns, and ends one of a single turn."""

MAX_TURNS = 8


def prompt_fingerprint(chain: ChainFn, view: View) -> str:
    """Returns the fingerprint of a chain's texts, for videos with and without times."""
    shown = replace(view, num_frames=1, label_unit="auto")
    turns = (turn for fps in (1.0, None) for turn in turns_of(chain, shown, fps))
    return text_fingerprint(*(part for turn in turns for part in turn.content if isinstance(part, str)))


def turns_of(chain: ChainFn, view: View, fps: float | None, query: str = "it") -> Iterator[Turn]:
    """Yields the turns of a chain about a blank video of as many frames as the view shows, at most `MAX_TURNS` replies.

    fps: of the video; None: its frames have no times.
    """
    from thinkseg.ops.video import ArrayFrames

    video = ArrayFrames(np.zeros((view.num_frames, 8, 8, 3), np.uint8), fps)
    running = chain(VideoSample("it", video, query), view)
    try:
        yield next(running)
        for _ in range(MAX_TURNS):
            yield running.send(REPLY)
    except (StopIteration, AnswerError):
        return
