"""Parts that several formats share: messages, token limits and files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thinkseg.export.samples import ExportSample, ExportSettings, turn_text
from thinkseg.ops.chat_text import TAGS, escape_control_tokens
from thinkseg.types import Dialogue, Turn, View

REPLY_TOKENS = 1_024
"""Token limit of a reply, as in the recipes of this project."""

TEXT_TOKENS = 1_024
"""Upper bound for the text of one turn."""

KIT = Path(__file__).parent / "kit"


def messages_of(dialogue: Dialogue) -> list[dict[str, str]]:
    """Returns a dialogue as messages of a user and an assistant. Replies have no control tokens but their tags."""
    return [
        {"role": "assistant", "content": escape_control_tokens(part, kept=TAGS)}
        if isinstance(part, str)
        else {"role": "user", "content": turn_text(part)}
        for part in dialogue
    ]


def content_parts(turn: Turn) -> list[dict[str, Any]]:
    """Returns a turn as text and image parts, all with the same fields, as a table needs them."""
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": ""}
        for part in turn.content
    ]


def truth_json(sample: ExportSample) -> str:
    """Returns the ground truth of a sample that has one as JSON."""
    assert sample.truth is not None
    return json.dumps(sample.truth)


def prompt_tokens(settings: ExportSettings, size_multiple: int) -> int:
    """Returns an upper bound for the tokens of the first turn."""
    return image_tokens(settings.first_view, size_multiple) + TEXT_TOKENS


def response_tokens(settings: ExportSettings, size_multiple: int) -> int:
    """Returns an upper bound for the tokens after the first turn: one reply, or two and the second turn."""
    if settings.chain == "veason":
        return REPLY_TOKENS
    return 2 * REPLY_TOKENS + image_tokens(settings.view.closeup, size_multiple) + TEXT_TOKENS


def image_tokens(view: View, size_multiple: int) -> int:
    """Returns the tokens of a view's frames, with a start and an end token each."""
    width, height = view.frame_wh
    return view.num_frames * (-(-width // size_multiple) * -(-height // size_multiple) + 2)


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes one JSON object per line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def write_script(text: str, path: Path) -> None:
    """Writes an executable file."""
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def copy_kit(folder: Path, *names: str) -> None:
    """Copies files of the kit into a folder."""
    for name in names:
        shutil.copyfile(KIT / name, folder / name)
