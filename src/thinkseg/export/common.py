"""Dialogues in the words of other trainers: turns with images in, texts with a placeholder for each image out."""

from __future__ import annotations

from typing import Any

from thinkseg.types import Dialogue, Turn

PLACEHOLDER = "<image>"


def text_of(turn: Turn) -> str:
    """What a turn says, with `PLACEHOLDER` where its images stand.

    The parts follow one another without anything between them, as in a chat template.
    """
    return "".join(part if isinstance(part, str) else PLACEHOLDER for part in turn.content)


def messages_of(dialogue: Dialogue) -> list[dict[str, str]]:
    """A dialogue as messages of a user and an assistant."""
    return [
        {"role": "assistant", "content": said} if isinstance(said, str) else {"role": "user", "content": text_of(said)}
        for said in dialogue
    ]


def parts_of(turn: Turn) -> list[dict[str, Any]]:
    """What a turn says as a list of texts and places for images; all with the same fields, which tables ask for."""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": ""}
        for part in turn.content
    ]
