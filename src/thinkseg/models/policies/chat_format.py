"""Conversion between dialogues and OpenAI's chat completions.

Requests contain images as data URLs, in lossless PNG or in JPEG. Responses are untrusted: a body that is not a chat
completion raises `MalformedReplyError`. The thinking of a model is part of its reply, `<think>...</think>`, whether the
server returns it in the text, without the opening tag (which the chat template has put into the prompt), or in a field
of its own.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.ops.chat_text import TAGS, THINK, THINK_END, escape_control_tokens
from thinkseg.types import Dialogue, Reply, Turn

TRUNCATED = ("length", "max_tokens", "model_length")
"""`finish_reason` of a reply that reached the token limit: of OpenAI, and of servers that pass on names of others."""

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")
"""Fields of a message with the thinking, as text or parts: of vLLM before 0.11 and SGLang, of vLLM, of OpenRouter."""

THINKING_PARTS = ("thinking", "reasoning")
"""Types of the parts of a content that are thinking."""

PART_FIELDS = ("text", "thinking", "summary", "content")
"""Fields of a part with its text."""

MAX_ORIGIN_CHARS = 1_000
"""Length of a name in `served_origin`, which settings record."""

MAX_BODY_BYTES = 16 * 2**20
"""A body that is longer is not parsed. Replies of 100,000 tokens have less than 1 MB."""

MAX_TOKENS = 10**9
"""A larger number of tokens is not a count."""


class MalformedReplyError(ValueError):
    """The body of a response is not a chat completion; the message gives the reason."""


def messages_of(dialogue: Dialogue, jpeg_quality: int | None = None) -> list[dict[str, Any]]:
    """The messages of a request. jpeg_quality: see `data_url`."""
    return [_message(part, jpeg_quality) for part in dialogue]


def _message(part: Turn | str, jpeg_quality: int | None) -> dict[str, Any]:
    if isinstance(part, str):
        # A plain string: a server has no use for the token ids of `GeneratedText`.
        return {"role": "assistant", "content": escape_control_tokens(str(part), kept=TAGS)}
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


def parse_completion(body: bytes) -> Reply:
    """The reply in the body of a response. A refusal and an empty text are replies too.

    Raises MalformedReplyError if the body is not a chat completion.
    """
    return reply_of(parse_object(body))


def reply_of(completion: dict[str, Any]) -> Reply:
    """The reply in a completion. Raises MalformedReplyError as `parse_completion` does."""
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise MalformedReplyError(server_message(completion) or "no message")
    truncated = str(choice.get("finish_reason")).lower() in TRUNCATED
    return Reply(
        text=message_text(message, truncated),
        num_tokens=_count(completion, "completion_tokens"),
        truncated=truncated,
        num_prompt_tokens=_count(completion, "prompt_tokens"),
    )


def message_text(message: dict[str, Any], truncated: bool) -> str:
    """The text of a message, with its thinking. Raises MalformedReplyError if it is not text.

    truncated: the message is not complete, so that its thinking may not have ended.
    """
    content, refusal = message.get("content"), message.get("refusal")
    parts = content if isinstance(content, list) else [content]
    thoughts = [part for part in parts if _is_thinking(part)]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts if not _is_thinking(part)]
    if not all(isinstance(text, str | None) for text in (*texts, refusal)) or (content and None in texts):
        raise MalformedReplyError("content is not text")
    reasoning = next(filter(None, map(_joined, (thoughts, *map(message.get, REASONING_FIELDS)))), "")
    return _encodable(_with_thinking("".join(filter(None, texts)) or refusal or "", reasoning, truncated))


def _is_thinking(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in THINKING_PARTS


def _joined(value: object, levels: int = 4) -> str:
    """The text of a string, of a part with a text, or of a list of parts, which may contain lists themselves."""
    if isinstance(value, str) or not levels:
        return value if isinstance(value, str) else ""
    if isinstance(value, dict):
        return next(filter(None, (_joined(value.get(name), levels - 1) for name in PART_FIELDS)), "")
    return "".join(_joined(part, levels - 1) for part in value) if isinstance(value, list) else ""


def _with_thinking(text: str, reasoning: str, truncated: bool) -> str:
    """Adds thinking from a field of its own, or the tag that opens the thinking, to a text that lacks it."""
    before, closed, _ = text.partition(THINK_END)
    if THINK in before:
        return text
    if before.strip() and closed:
        return THINK + text
    if not reasoning:
        return THINK + text if closed else text
    # Tags in it are about the format, and would count as tags of the reply.
    thinking = THINK + escape_control_tokens(reasoning.strip().removeprefix(THINK).removesuffix(THINK_END))
    return thinking + text if closed or (truncated and not text.strip()) else thinking + THINK_END + text


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, in UTF-8 whatever its headers say. Raises MalformedReplyError if there is none."""
    if len(body) > MAX_BODY_BYTES:
        raise MalformedReplyError(f"longer than {MAX_BODY_BYTES:,} bytes")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        # Deep nesting ends at Python's recursion limit.
        raise MalformedReplyError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedReplyError("not a JSON object")
    return value


def served_origin(models: str, name: str) -> dict[str, str]:
    """Returns where a server says it has a model from, its "root" and its "parent", from its list of models.

    Other fields, such as "created", differ between starts of one server. {} for a list in another form.
    """
    try:
        (entry,) = (entry for entry in json.loads(models)["data"] if entry["id"] == name)
        found = {key: entry[key] for key in ("root", "parent") if entry.get(key) is not None}
        return {key: _encodable(str(value))[:MAX_ORIGIN_CHARS] for key, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def server_message(body: object) -> str:
    """The error message in a response on one line; "" if there is none."""
    message: object = body
    for _ in range(2):
        # {"error": {"message": TEXT}}, {"error": TEXT} and {"message": TEXT} are all in use.
        if isinstance(message, dict):
            message = message.get("error") or message.get("message") or message.get("detail")
    return _encodable(" ".join(message.split())) if isinstance(message, str) else ""


def _encodable(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates, which JSON can contain, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(completion: dict[str, Any], name: str) -> int:
    """A number of tokens; 0 if the server reports none."""
    usage = completion.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 < value <= MAX_TOKENS else 0
