"""Streamed chat completions: server-sent events, each with the next piece of a message.

The pieces are put together to a completion that is not streamed, which `chat_format` reads.
"""

from __future__ import annotations

import re
from typing import Any

from thinkseg.models.policies.chat_format import (
    REASONING_FIELDS,
    MalformedReplyError,
    message_text,
    parse_completion,
    parse_object,
    reply_of,
    server_message,
)
from thinkseg.types import Reply

STREAMING: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
"""Fields of a request for a stream that ends with the numbers of tokens."""

_PIECE = re.compile(rb"^data:(?!\s*\[DONE\])(.*)$", re.MULTILINE)
_END = re.compile(rb"^data:\s*\[DONE\]", re.MULTILINE)
"""A line with a piece, which is JSON, and the line behind the last one."""


def parse_stream(body: bytes) -> Reply:
    """The reply in the body of a streamed response, or in a completion, from a server that does not stream.

    Raises MalformedReplyError for another body, and for a stream without an end.
    """
    pieces = _PIECE.findall(body)
    if not pieces:
        return parse_completion(body)
    completion = _completion(pieces)
    if completion["choices"][0]["finish_reason"] is None and not _END.search(body):
        raise MalformedReplyError("the stream has no end")
    return reply_of(completion)


def text_so_far(body: bytes) -> str:
    """The text of a reply of whose body a part has arrived; "" if there is none yet, or it is malformed."""
    complete_lines = body[: body.rfind(b"\n") + 1]
    try:
        return message_text(_completion(_PIECE.findall(complete_lines))["choices"][0]["message"], truncated=True)
    except MalformedReplyError:
        return ""


def _completion(pieces: list[bytes]) -> dict[str, Any]:
    """The completion in the pieces of a stream. Its finish_reason is None before the end.

    Raises MalformedReplyError for a piece that is not a JSON object, or reports an error.
    """
    message: dict[str, Any] = {name: [] for name in ("content", "refusal", *REASONING_FIELDS)}
    finish_reason, usage = None, None
    for piece in pieces:
        chunk = parse_object(piece)
        if chunk.get("error") or server_message(chunk):
            raise MalformedReplyError(server_message(chunk) or "an error without a reason")
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        finish_reason = choice.get("finish_reason") or finish_reason
        delta = choice.get("delta")
        parts = delta if isinstance(delta, dict) else {}
        for name in message.keys() & parts.keys():
            value = parts[name]
            message[name] += value if isinstance(value, list) else [value or ""]
    message["refusal"] = "".join(filter(_is_text, message["refusal"]))
    return {"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
