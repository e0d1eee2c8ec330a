"""A server that plays vLLM by a script: it loads whatever it is told to and replies with given texts.

with ScriptedVllm(encoder, lambda request: ["Here."] * n) as server:
    ServerPool([server.url], ...)
server.posted    paths of the POST requests, in order; `server.asked` the bodies of requests for replies
server.is_down   makes every response a failure
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from scriptedserver import Response, ScriptedServer, failed
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.vllm import GENERATE, INITIAL_VERSION, LOAD_ADAPTER, RPC

LOGPROB = -0.5
"""Of every token."""


class ScriptedVllm(ScriptedServer):
    """replies: the texts of the replies to a request, from its body (default: "Here." as often as requested).

    missing: addresses that it does not have.
    """

    def __init__(
        self,
        encoder: Encoder,
        replies: Callable[[dict[str, Any]], Sequence[str]] | None = None,
        missing: Sequence[str] = (),
        max_model_len: int = 4096,
    ) -> None:
        super().__init__(self._generated)
        self.encoder = encoder
        self.replies = replies or (lambda body: ["Here."] * body["sampling_params"]["n"])
        self.missing = missing
        self.max_model_len = max_model_len
        self.is_down = False
        self.posted: list[str] = []
        self.adapters: dict[str, str] = {}
        self.version = INITIAL_VERSION
        self.weights_path = ""
        self.changes: dict[str, Any] = {}
        """Fields of the first reply that are replaced."""
        self.extra_prompt: list[int] = []
        """Tokens that the server adds to prompts."""

    def get(self, path: str) -> Response:
        if self.is_down:
            return failed(500)
        if path == "/weight_info":
            return Response({"weight_version": self.version})
        base = {"id": "base", "root": "/base", "parent": None, "max_model_len": self.max_model_len}
        adapters = [{"id": name, "root": root, "parent": "base"} for name, root in self.adapters.items()]
        return Response({"data": [base, *adapters]})

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Response:
        if self.is_down:
            return failed(500)
        if path in self.missing:
            return failed(404)
        if not body and path in (GENERATE, LOAD_ADAPTER, RPC):
            return failed(400, "fields are missing")
        self.posted.append(path)
        if path == GENERATE:
            return self.answer(body, headers)
        if path == LOAD_ADAPTER:
            self.adapters[body["lora_name"]] = body["lora_path"]
        if path == "/v1/unload_lora_adapter":
            del self.adapters[body["lora_name"]]
        if path == "/update_weight_version":
            self.version = body["new_version"]
        if path == RPC:
            self.weights_path = body["kwargs"]["weights_path"]
        return Response(b"" if path in ("/reset_mm_cache", "/reset_encoder_cache") else {"success": True})

    def _generated(self, body: dict[str, Any]) -> Response:
        if body["model"] not in ("base", *self.adapters):
            return failed(404, "no such model")
        choices = [self._choice(text) for text in self.replies(body)]
        for choice in choices[:1]:
            choice |= self.changes
        prompt = [*self._expanded(body), *self.extra_prompt]
        return Response({"model": body["model"], "prompt_token_ids": prompt, "choices": choices})

    def _choice(self, text: str) -> dict[str, Any]:
        ids = [*self.encoder.content_ids(text), self.encoder.end_id]
        return {
            "token_ids": ids,
            "logprobs": {"content": [{"token_id": token, "logprob": LOGPROB} for token in ids]},
            "finish_reason": "stop",
            "weight_versions": [{"version": self.version, "start": 0, "end": len(ids)}],
        }

    def _expanded(self, body: dict[str, Any]) -> list[int]:
        """The prompt with one placeholder per visual token, as the sizes of the images require."""
        images = iter(images_of(body))
        ids: list[int] = []
        for token in body["token_ids"]:
            is_image = token == self.encoder.image_pad_id
            size = next(images).shape if is_image else (0, 0)
            ids += [token] * (size[0] * size[1] // self.encoder.size_multiple**2 if is_image else 1)
        return ids


def images_of(body: dict[str, Any]) -> list[np.ndarray]:
    """The images of a request, uint8 BGR."""
    urls = [part["url"] for part in body["content_parts"]]
    data = [np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8) for url in urls]
    return [cv2.imdecode(one, cv2.IMREAD_COLOR) for one in data]
