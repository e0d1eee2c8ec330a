"""Bodies of a server's responses, as they reach the client."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import WrongError, allowing
from mutation import mutated_bytes, mutated_json, mutated_json_file, written_json
from scriptedserver import Response, ScriptedServer, completion, pieces
from thinkseg.errors import ModelError
from thinkseg.models.policies import client as client_module
from thinkseg.models.policies.chat_format import MalformedReplyError
from thinkseg.models.policies.chat_stream import parse_stream, text_so_far
from thinkseg.models.policies.client import ChatClient, ClientSettings
from thinkseg.types import Reply

STATUSES = [200, 200, 400, 400, 401, 403, 404, 409, 422, 429, 500, 503, 204, 301, 302, 418, 599]
HEADERS = [{}, {}, {"Retry-After": "nan"}, {"Retry-After": "-1"}, {"Content-Encoding": "gzip"}, {"Location": "x://y"}]
HEADERS += [
    {"Content-Type": "application/json"},
    {"Content-Type": "text/html; charset=nonsense"},
    {"x-should-retry": "false"},
]


class Servers:
    name = "servers"
    count = 10_000

    def prepare(self, folder: Path) -> None:
        client_module.MALFORMED_DELAY = 0.0
        self.response = Response(b"")
        self.server = ScriptedServer(lambda _: self.response)
        self.server.__enter__()
        self.client = ChatClient(self.server.base_url, ClientSettings(max_retries=0, timeout=5))
        self.bodies: list[Any] = [
            completion("it moves"),
            completion(None, refusal="no"),
            completion([{"type": "text", "text": "x"}]),  # type: ignore[arg-type]
            {"error": {"message": "too long", "type": "error", "param": None, "code": "content_filter"}},
            {"error": "too long"},
            {"detail": [{"loc": ["body"], "msg": "missing"}]},
            {"message": "too long", "code": 400},
        ]
        self.events = pieces("it ", {"reasoning": "hm"}, {"content": [{"type": "thinking", "thinking": "?"}]}, "moves")

    def run(self, rng: Random, folder: Path) -> None:
        body = rng.choice(self.bodies)
        data = mutated_json_file(rng, json.dumps(body).encode())
        if rng.random() < 0.2:
            data = b"".join([*rng.sample(self.events, rng.randrange(1, 6)), mutated_json_file(rng, self.events[0])])
        if rng.random() < 0.1:
            data = mutated_bytes(rng, written_json(mutated_json(rng, body)))
        _check_body(data)
        if rng.random() < 0.9:
            return  # A request takes a hundred times as long as parsing.
        self.response = Response(data, rng.choice(STATUSES), rng.choice(HEADERS))
        with allowing(ModelError):
            (reply,) = self.client.complete([lambda: {"model": "m", "messages": []}])
            _check_reply(reply)


def _check_body(data: bytes) -> None:
    with suppress(MalformedReplyError):
        _check_reply(parse_stream(data))
    text_so_far(data).encode("utf-8")


def _check_reply(reply: Reply) -> None:
    reply.text.encode("utf-8")
    if reply.num_tokens < 0 or reply.num_prompt_tokens < 0 or not isinstance(reply.truncated, bool):
        raise WrongError(f"wrong reply {reply!r}")
