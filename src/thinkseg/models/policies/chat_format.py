"""Conversion between dialogues and OpenAI's chat completions.

Requests contain images as data URLs, in lossless PNG or in JPEG. Responses are untrusted: a body that is not a chat
completion raises `MalformedReplyError`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Dialogue, Reply, Turn

TRUNCATED = "length"
"""The `finish_reason` of a reply that reached the token limit."""

MAX_MESSAGE_CHARS = 200
"""Length of a server's message in an error."""


class MalformedReplyError(ValueError):
    """The body of a response is not a chat completion; the message gives the reason."""


def messages_of(dialogue: Dialogue, jpeg_quality: int | None = None) -> list[dict[str, Any]]:
    """The messages of a request. jpeg_quality: see `data_url`."""
    return [_message(part, jpeg_quality) for part in dialogue]


def _message(part: Turn | str, jpeg_quality: int | None) -> dict[str, Any]:
    if isinstance(part, str):
        # A plain string: a server has no use for the token ids of `GeneratedText`.
        return {"role": "assistant", "content": str(part)}
    content: list[dict[str, Any]] = [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": data_url(piece, jpeg_quality)}}
        for piece in part.content
    ]
    return {"role": "user", "content": content}


def data_url(image: np.ndarray, jpeg_quality: int | None = None) -> str:
    """Encodes an image, uint8 RGB (H, W, 3), as a data URL: PNG, or JPEG of a quality of 1 to 100."""
    import cv2

    check_quality(jpeg_quality)
    kind, flags = ("png", []) if jpeg_quality is None else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    _, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def check_quality(jpeg_quality: int | None) -> int | None:
    """Returns the quality. Raises SettingsError if it is outside 1..100."""
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise SettingsError(f"JPEG quality {jpeg_quality}: must be 1 to 100; omit it for lossless PNG")
    return jpeg_quality


def parse_completion(body: str) -> Reply:
    """The reply in the body of a response. A refusal and an empty text are replies too.

    Raises MalformedReplyError if the body is not a chat completion.
    """
    completion = _parse_object(body)
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedReplyError(server_message(completion) or "no message")
    text, refusal = message.get("content"), message.get("refusal")
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        raise MalformedReplyError("content is not text")
    return Reply(
        text=_encodable(text or refusal or ""),
        num_tokens=_count(completion, "completion_tokens"),
        truncated=choice.get("finish_reason") == TRUNCATED,
        num_prompt_tokens=_count(completion, "prompt_tokens"),
    )


def _parse_object(body: str) -> dict[str, Any]:
    """The JSON object in a body. Raises MalformedReplyError if there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        # Deep nesting ends at Python's recursion limit.
        raise MalformedReplyError(f"not JSON: {str(error)[:MAX_MESSAGE_CHARS]}") from None
    if not isinstance(value, dict):
        raise MalformedReplyError("not a JSON object")
    return value


def server_message(body: object) -> str:
    """The error message in a response on one line, at most `MAX_MESSAGE_CHARS` long; "" if there is none."""
    message: object = body
    for _ in range(2):
        # {"error": {"message": TEXT}}, {"error": TEXT} and {"message": TEXT} are all in use.
        if isinstance(message, dict):
            message = message.get("error") or message.get("message") or message.get("detail")
    return _encodable(" ".join(message.split()))[:MAX_MESSAGE_CHARS] if isinstance(message, str) else ""


def _encodable(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, which JSON can contain, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(completion: dict[str, Any], name: str) -> int:
    """A number of tokens; 0 if the server reports none."""
    usage = completion.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and value > 0 else 0
