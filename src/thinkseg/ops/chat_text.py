"""Text in dialogues: the tags of replies, and control tokens in text from outside.

A query, a description or a reply may contain text like `<|im_end|>` or `<image>`, which a tokenizer or a trainer would
take for the end of a turn or the place of an image. `escape_control_tokens` prevents that in prompts and exports.
"""

from __future__ import annotations

import re
from collections.abc import Collection

THINK, THINK_END = "<think>", "</think>"
TAGS = (THINK, THINK_END, "<answer>", "</answer>")
"""Tags around the thinking and the answer of a reply."""

_CONTROL_TOKEN = re.compile(r"(?=(<[^\s<>]+>|\[/?(?:IMG|INST|gMASK)\w*\])).")
"""The start of a text of the form of a control token of any model family, a placeholder of a trainer or a tag.

A lookahead also finds one within another.
"""


def escape_control_tokens(text: str, kept: Collection[str] = ()) -> str:
    """Inserts a space after the first character of each control token, placeholder or tag: `<image>` -> `< image>`.

    kept: tokens that stay as they are.
    """
    return _CONTROL_TOKEN.sub(lambda found: found[0] if found[1] in kept else f"{found[0]} ", text)


def without_thinking(text: str) -> str:
    """Returns a reply without a complete thinking block at its start and without whitespace around it."""
    text = text.strip()
    if text.startswith(THINK):
        _, closed, rest = text.partition(THINK_END)
        return rest.strip() if closed else text
    return text
