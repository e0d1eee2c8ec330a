"""The format of OpenAI's chat completions, as clients speak it: dialogues to messages, and a body to a reply.

Pictures travel inside the request as data URLs: PNG, which loses nothing, or JPEG at a quality that is named. Whatever
a server sends is untrusted: a body is a completion, or it is a `MalformedReplyError`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Dialogue, Reply, Turn

CUT_SHORT = "length"
"""The `finish_reason` of a reply that ran into the token limit."""

_SHOWN = 200
"""Characters of a server's message that an error repeats."""


class MalformedReplyError(ValueError):
    """The body of a response is not a chat completion; the message says in what way."""


def messages_of(dialogue: Dialogue, jpeg_quality: int | None = None) -> list[dict[str, Any]]:
    """A dialogue as the messages of a request. jpeg_quality: see `data_url`."""
    return [_message(part, jpeg_quality) for part in dialogue]


def _message(part: Turn | str, jpeg_quality: int | None) -> dict[str, Any]:
    if isinstance(part, str):
        # A plain string: what a subclass remembers is nothing to a server.
        return {"role": "assistant", "content": str(part)}
    content: list[dict[str, Any]] = [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": data_url(piece, jpeg_quality)}}
        for piece in part.content
    ]
    return {"role": "user", "content": content}


def data_url(picture: np.ndarray, jpeg_quality: int | None = None) -> str:
    """A picture, uint8 RGB (H, W, 3), inside a URL: as PNG, or as JPEG if a quality (1 to 100) is given."""
    import cv2

    checked_quality(jpeg_quality)
    kind, flags = ("png", []) if jpeg_quality is None else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    _, data = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), flags)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def checked_quality(jpeg_quality: int | None) -> int | None:
    """The quality itself. Raises SettingsError if there is no such quality."""
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise SettingsError(f"there is no JPEG quality {jpeg_quality}: give 1 to 100, or none for PNG, which is exact")
    return jpeg_quality


def read_completion(body: str) -> Reply:
    """The reply in the body of a response. A refusal is a reply, and so is one without words: both are data.

    Raises MalformedReplyError if it is no completion.
    """
    completion = parsed_object(body)
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedReplyError(server_message(completion) or "there is no message in it")
    text, refusal = message.get("content"), message.get("refusal")
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        raise MalformedReplyError("its content is no text")
    return Reply(
        text=encodable(text or refusal or ""),
        num_tokens=_count(completion, "completion_tokens"),
        truncated=choice.get("finish_reason") == CUT_SHORT,
        num_prompt_tokens=_count(completion, "prompt_tokens"),
    )


def parsed_object(body: str) -> dict[str, Any]:
    """The JSON object a body stands for. Raises MalformedReplyError if it stands for none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        # Python's own recursion limit is what ends nesting without end.
        raise MalformedReplyError(f"not JSON: {str(error)[:_SHOWN]}") from None
    if not isinstance(value, dict):
        raise MalformedReplyError("not a JSON object")
    return value


def server_message(body: object) -> str:
    """What a server says went wrong, on one line of bearable length; "" if it does not say."""
    said: object = body
    for _ in range(2):
        # {"error": {"message": TEXT}}, {"error": TEXT} and {"message": TEXT} are all in use.
        if isinstance(said, dict):
            said = said.get("error") or said.get("message") or said.get("detail")
    return encodable(" ".join(said.split()))[:_SHOWN] if isinstance(said, str) else ""


def encodable(text: str) -> str:
    """Text that can be written to a file: JSON can spell halves of characters, which become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(completion: dict[str, Any], name: str) -> int:
    """A number of tokens; 0 if the server does not count."""
    usage = completion.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and value > 0 else 0
