"""Dialogues in the words of other trainers: turns with images in, texts with a placeholder for each image out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from thinkseg.export.questions import ExportSettings, Question
from thinkseg.types import Dialogue, Turn, View

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


KIT = Path(__file__).parent / "kit"


def copy_kit(folder: Path, *names: str) -> None:
    """Copies files of the kit into a folder."""
    for name in names:
        shutil.copyfile(KIT / name, folder / name)


def write_script(text: str, path: Path) -> None:
    """Writes a text as a file that can be run."""
    path.write_text(text, "utf-8")
    path.chmod(0o755)


REPLY_TOKENS = 1_024
"""Longest reply, as in our own recipes."""


WORDS = 1_024
"""Tokens that the words of one turn take at most."""


def truth_of(question: Question) -> str:
    """What a question's answers are judged by, as JSON. The truth must be known."""
    assert question.truth is not None
    return json.dumps(question.truth)


def prompt_tokens(asking: ExportSettings, size_multiple: int) -> int:
    """Tokens of the longest first turn."""
    return image_tokens(asking.first_view, size_multiple) + WORDS


def response_tokens(asking: ExportSettings, size_multiple: int) -> int:
    """Tokens of the longest reply; of a dialogue in two turns, of all that follows the first turn."""
    if asking.chain == "veason":
        return REPLY_TOKENS
    return 2 * REPLY_TOKENS + image_tokens(asking.view.closeup, size_multiple) + WORDS


def image_tokens(view: View, size_multiple: int) -> int:
    """Tokens of the frames of a view, with those before and after each of them."""
    width, height = view.frame_wh
    return view.num_frames * (-(-width // size_multiple) * -(-height // size_multiple) + 2)
