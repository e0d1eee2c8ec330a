"""What is sent back, in OpenAI's words: completions, their pieces while they are written, lists, and refusals."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from thinkseg.models import traits
from thinkseg.models.endpoint import OURS
from thinkseg.server.limits import RefusedError
from thinkseg.types import Policy, Reply

DONE = b"data: [DONE]\n\n"
"""The last event of a stream."""


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one response. name, created: the same in all its pieces."""

    model: str
    name: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """All answers to one request."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": str(reply.text)},
                "finish_reason": finish(reply),
                "logprobs": None,
            }
            for index, reply in enumerate(replies)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": usage(replies)}

    def piece(self, index: int, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        """What has been added to one answer, as an event of a stream."""
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def bill(self, replies: Sequence[Reply]) -> bytes:
        """The usage of a stream, as its last event but one."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage(replies)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}


def finish(reply: Reply) -> str:
    """Why an answer ends."""
    return "length" if reply.truncated else "stop"


def usage(replies: Sequence[Reply]) -> dict[str, int]:
    """Tokens of all answers to one request; what was asked is counted once."""
    read = replies[0].num_prompt_tokens if replies else 0
    written = sum(reply.num_tokens for reply in replies)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def event(content: dict[str, Any]) -> bytes:
    """One event of a stream (server-sent events)."""
    return b"data: " + json.dumps(content).encode("ascii") + b"\n\n"


def models(name: str, policy: Policy, created: int) -> dict[str, Any]:
    """The list of models, with what a client must know to show this one a video."""
    told = traits.to_json(traits.Traits(policy.size_multiple, policy.view))
    entry = {"id": name, "object": "model", "created": created, "owned_by": "thinkseg", OURS: told}
    return {"object": "list", "data": [entry]}


def refusal(error: RefusedError) -> dict[str, Any]:
    """An error as clients of this API expect it."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}
