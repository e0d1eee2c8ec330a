"""The body of a request in, what a policy is to do out: a dialogue, and how to answer it.

Strict: a setting that would change the answer and is not understood is refused, never passed over, so that nobody takes
one answer for another. Settings that ask for nothing (a `top_p` of 1, no tools) are fine, and so are those that only
concern accounts.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkseg.models.policy import Sampling
from thinkseg.server.limits import Limits, RefusedError
from thinkseg.server.pictures import fitted, read_picture
from thinkseg.types import Dialogue, Turn

READ = frozenset(
    {"model", "messages", "n", "temperature", "max_tokens", "max_completion_tokens", "seed", "stream", "stream_options"}
)
IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
)
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "stop": ([], ""),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
}
"""Settings that are understood only in so far as they ask for nothing. null is always fine."""

COLDEST, HOTTEST = 0.01, 2.0
"""Temperatures above 0 that can be computed with: below, numbers overflow."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is asked. samples: how many answers; stream, with_usage: how they are told."""

    dialogue: Dialogue
    sampling: Sampling
    samples: int
    stream: bool
    with_usage: bool


def read_request(body: bytes, model: str, size_multiple: int, limits: Limits) -> Asked:
    """Reads a request for a chat completion. Raises RefusedError, and nothing else, whatever the body."""
    fields = _object(body)
    if fields.get("model") != model:
        raise RefusedError(f"there is no such model; there is: {model}", status=404, code="model_not_found")
    for name in fields.keys() - READ - IGNORED:
        if fields[name] is not None and fields[name] not in NEUTRAL.get(name, ()):
            raise RefusedError(f"{name} is not supported here with that value", code="unsupported_value", param=name)
    stream = _flag(fields, "stream")
    options = fields.get("stream_options")
    return Asked(
        dialogue=_Reader(size_multiple, limits).dialogue(fields.get("messages")),
        sampling=_sampling(fields, limits),
        samples=_whole(fields, "n", 1, 1, limits.samples),
        stream=stream,
        with_usage=options is not None and _flag(_mapping(options, "stream_options"), "include_usage"),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise RefusedError("the body is not a JSON object")
    return fields


def _sampling(fields: Mapping[str, Any], limits: Limits) -> Sampling:
    """How answers are drawn. Without a seed, chance decides, as everywhere with this API."""
    temperature = fields.get("temperature")
    temperature = 1.0 if temperature is None else temperature
    if type(temperature) not in (int, float) or not (temperature == 0 or COLDEST <= temperature <= HOTTEST):
        raise RefusedError(f"temperature is 0, or from {COLDEST} to {HOTTEST:g}", param="temperature")
    limit = "max_tokens" if fields.get("max_completion_tokens") is None else "max_completion_tokens"
    seed = secrets.randbits(63) if fields.get("seed") is None else _whole(fields, "seed", 0, 0, 2**63 - 1)
    usual = min(Sampling().max_new_tokens, limits.tokens)
    tokens = _whole(fields, limit, usual, 1, limits.tokens)
    return Sampling(float(temperature), tokens, seed)


class _Reader:
    """Reads messages, and counts what they hold against what all of them may."""

    def __init__(self, size_multiple: int, limits: Limits) -> None:
        self._multiple = size_multiple
        self._limits = limits
        self._pictures = self._pixels = self._characters = 0

    def dialogue(self, messages: Any) -> Dialogue:
        """Turns and replies in alternation. Messages of one side that follow each other are one; so is a system's
        message with the turn after it, as models here were taught without any.
        """
        if not isinstance(messages, list) or not messages:
            raise RefusedError("messages is a list of at least one message", param="messages")
        parts: list[list[str | np.ndarray] | str] = []
        for message in messages:
            role = _mapping(message, "messages").get("role")
            content = self._content(message.get("content"))
            if role in ("user", "system", "developer"):
                if not parts or isinstance(parts[-1], str):
                    parts.append([])
                said = parts[-1]
                assert isinstance(said, list)
                said += content
            elif role == "assistant" and parts and isinstance(parts[-1], list):
                parts.append(_text(content))
            else:
                raise RefusedError("messages are those of a user and an assistant in turn", param="messages")
        if isinstance(parts[-1], str):
            raise RefusedError("the last message is the user's", param="messages")
        return tuple(part if isinstance(part, str) else Turn(tuple(part)) for part in parts)

    def _content(self, content: Any) -> list[str | np.ndarray]:
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not parts:
            raise RefusedError("the content of a message is a text, or a list of texts and pictures", param="messages")
        return [self._part(_mapping(part, "messages")) for part in parts]

    def _part(self, part: Mapping[str, Any]) -> str | np.ndarray:
        kind = part.get("type")
        if kind == "text" and isinstance(text := part.get("text"), str):
            return self._words(text)
        if kind == "image_url":
            url = _mapping(part.get("image_url"), "messages").get("url")
            if isinstance(url, str):
                return self._picture(url)
        raise RefusedError('parts of a message are {"type": "text"} and {"type": "image_url"}', param="messages")

    def _words(self, text: str) -> str:
        self._characters += len(text)
        if self._characters > self._limits.characters:
            raise RefusedError(
                f"the texts have more than {self._limits.characters:,} characters",
                code="context_length_exceeded",
                param="messages",
            )
        # JSON can spell halves of characters, which no tokenizer takes.
        return text.encode("utf-8", "replace").decode("utf-8")

    def _picture(self, url: str) -> np.ndarray:
        self._pictures += 1
        if self._pictures > self._limits.pictures:
            raise RefusedError(f"more than {self._limits.pictures} pictures", code="too_many_images", param="messages")
        image = read_picture(url, self._limits.side, self._limits.pixels - self._pixels)
        self._pixels += image.shape[0] * image.shape[1]
        return fitted(image, self._multiple)


def _text(content: list[str | np.ndarray]) -> str:
    if any(not isinstance(part, str) for part in content):
        raise RefusedError("an assistant's message has no pictures", param="messages")
    return "".join(part for part in content if isinstance(part, str))


def _mapping(value: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(f"{param}: an object is missing", param=param)
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and type(value) is not bool:
        raise RefusedError(f"{name} is true or false", param=name)
    return bool(value)


def _whole(fields: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = fields.get(name)
    value = default if value is None else value
    # Exactly int: True is one to Python, not to us.
    if type(value) is not int or not least <= value <= most:
        raise RefusedError(f"{name} is a whole number from {least} to {most}", param=name)
    return value
