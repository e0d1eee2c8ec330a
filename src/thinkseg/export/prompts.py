"""What the exports for reinforcement share: how long prompts and replies may get, and the truth as text."""

from __future__ import annotations

import json

from thinkseg.export.questions import Asking, Question
from thinkseg.types import View

REPLY_TOKENS = 1_024
"""Longest reply, as in our own recipes."""

WORDS = 1_024
"""Tokens that the words of one turn take at most."""


def truth_of(question: Question) -> str:
    """What a question's answers are judged by, as JSON. The truth must be known."""
    assert question.truth is not None
    return json.dumps(question.truth)


def prompt_tokens(asking: Asking, size_multiple: int) -> int:
    """Tokens of the longest first turn."""
    return image_tokens(asking.first_view, size_multiple) + WORDS


def response_tokens(asking: Asking, size_multiple: int) -> int:
    """Tokens of the longest reply; of a dialogue in two turns, of all that follows the first turn."""
    if asking.chain == "veason":
        return REPLY_TOKENS
    return 2 * REPLY_TOKENS + image_tokens(asking.view.closeup, size_multiple) + WORDS


def image_tokens(view: View, size_multiple: int) -> int:
    """Tokens of the frames of a view, with those before and after each of them."""
    width, height = view.frame_wh
    return view.num_frames * (-(-width // size_multiple) * -(-height // size_multiple) + 2)
