"""A vLLM server that samples for a training: token ids in, token ids with log-probabilities out, and new weights.

Replies are requested with token ids (`/inference/v1/generate`) and not as chat completions: a chat server splits the
text of an earlier reply into tokens again, often others than those that were sampled and are trained on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from thinkseg.errors import ModelError
from thinkseg.models.policies.chat_format import data_url
from thinkseg.models.policies.client import ClientSettings, ServerClient, ServerDownError

GENERATE = "/inference/v1/generate"
LOAD_ADAPTER = "/v1/load_lora_adapter"
RPC = "/collective_rpc"

SWITCHES = {
    GENERATE: "--enable-scale-out",
    LOAD_ADAPTER: "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1",
    RPC: "VLLM_SERVER_DEV_MODE=1",
}
"""What a server must be started with to have an address."""

CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
"""Without the last two resets, the first known image after an update of the weights stops the engine."""

INITIAL_VERSION = "default"
"""vLLM's name for the weights that a server starts with."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenRequest:
    """A prompt, with one placeholder token per image, and fields of vLLM's `SamplingParams`."""

    token_ids: Sequence[int]
    images: Sequence[np.ndarray]
    sampling: Mapping[str, Any]

    def body(self, model: str) -> dict[str, Any]:
        """The fields of the request to a model, with its images as lossless PNG."""
        return {
            "model": model,
            "token_ids": list(self.token_ids),
            "content_parts": [{"type": "image_url", "url": data_url(image)} for image in self.images],
            "sampling_params": {**self.sampling, "logprobs": 0, "detokenize": False},
            "return_token_ids": True,
        }


class _Logprob(BaseModel):
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Logprob]


class _Span(BaseModel):
    version: str


class SampledTokens(BaseModel):
    """One continuation. token_ids: with the end of the turn, unless the limit truncated it."""

    token_ids: list[int]
    logprobs: _Logprobs
    finish_reason: str
    weight_versions: list[_Span] | None = None

    @property
    def token_logprobs(self) -> list[float]:
        """The log-probability of each token under the distribution that it was sampled from."""
        return [token.logprob for token in self.logprobs.content]


class Generated(BaseModel):
    """The response to a `TokenRequest`. prompt_token_ids: with one placeholder per visual token."""

    model: str
    prompt_token_ids: list[int]
    choices: list[SampledTokens]


class _Model(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Model]


class _WeightInfo(BaseModel):
    weight_version: str


class _Reset(BaseModel):
    success: bool = True


Body = TypeVar("Body", bound=BaseModel)


class VllmServer(ServerClient):
    """Client of one server. `connect` comes first; requests then go to the model that was loaded last.

    Raises ServerDownError if another server may reply, ModelError if the server is set up in another way.
    """

    max_model_len = 0
    """Tokens of a prompt with its reply."""

    def __init__(self, url: str, settings: ClientSettings | None = None) -> None:
        super().__init__(url.rstrip("/"), settings)
        self._base_model = ""
        self._adapter = ""
        self._version = INITIAL_VERSION

    async def connect(self, addresses: Sequence[str]) -> None:
        """Reads the list of models, and checks that the server has some `addresses`, which are keys of `SWITCHES`."""
        for address in addresses:
            # An empty request is invalid, so that it has no effect.
            response = await self._send("POST", address, {}, accepted=(400, 403, 404, 422))
            if response.status_code in (403, 404):
                raise ModelError(f"{self.base_url}: no {address}; start the server with {SWITCHES[address]}")
        served = [model for model in (await self._models()).values() if not model.parent]
        if not served:
            raise ModelError(f"{self.base_url}: serves no model; start it with the recipe's model")
        self._base_model, self.max_model_len = served[0].id, served[0].max_model_len or 0

    async def close(self) -> None:
        await self._client.close()

    async def generate(self, request: TokenRequest) -> Generated:
        """Returns the replies to a prompt. Raises ServerDownError if they come from other weights than the last."""
        async with self._slots:
            body = await asyncio.to_thread(request.body, self._adapter or self._base_model)
            response = await self._send("POST", GENERATE, body, accepted=(404,))
        if response.status_code == 404:
            raise ServerDownError(f"{self.base_url}: no longer has the model {body['model']!r}")
        generated = self._parsed(Generated, response)
        self._check(generated, body)
        return generated

    def _check(self, generated: Generated, body: Mapping[str, Any]) -> None:
        """Raises an error for replies that are incomplete or come from other weights than the last that were loaded."""
        if len(generated.choices) != body["sampling_params"]["n"]:
            raise ModelError(
                f"{self.base_url}: {len(generated.choices)} replies; {body['sampling_params']['n']} wanted"
            )
        for choice in generated.choices:
            if not choice.token_ids or len(choice.token_ids) != len(choice.token_logprobs):
                raise ModelError(
                    f"{self.base_url}: a reply without one log-probability per token; start vLLM 0.32 or newer"
                )
            if choice.finish_reason not in ("stop", "length"):
                raise ServerDownError(f"{self.base_url}: ended a reply by {choice.finish_reason!r}")
        found = {span.version for choice in generated.choices for span in choice.weight_versions or ()}
        if other := found - {self._version}:
            what = f"{self.base_url}: replied with the weights {min(other)!r}, not {self._version!r}"
            if self._adapter:
                raise ModelError(f"{what}; restart the server, whose weights an earlier run has replaced")
            raise ServerDownError(what)

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Adds a LoRA adapter in peft's layout, unless the server has it, and removes the previous one.

        name: a new one for each version, because vLLM caches prefixes by the name.
        """
        if name not in await self._models():
            try:
                await self._send("POST", LOAD_ADAPTER, {"lora_name": name, "lora_path": str(folder)})
            except ModelError:
                if name not in await self._models():
                    raise  # else another process has loaded it meanwhile
        listed = (await self._models()).get(name)
        if listed is None or listed.root != str(folder):
            raise ModelError(f"{self.base_url}: did not load {folder}; the server must be able to read this folder")
        previous, self._adapter = self._adapter, name
        if previous not in ("", name):
            await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": previous}, accepted=(400, 404))

    async def load_weights(self, version: str, folder: Path) -> None:
        """Replaces all weights by those of a `save_pretrained` folder, unless the server has this version."""
        if await self._weight_version() != version:
            await self._send("POST", "/pause")
            await self._send("POST", RPC, {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
            for address in CACHES:
                if not self._parsed(_Reset, await self._send("POST", address), b"{}").success:
                    raise ServerDownError(f"{self.base_url}: {address} failed, so that it might use old weights")
            await self._send("POST", "/update_weight_version", {"new_version": version})
            await self._send("POST", "/resume")
        if (loaded := await self._weight_version()) != version:
            raise ModelError(f"{self.base_url}: has the weights {loaded!r}, not {version!r}; let one run use it")
        self._version = version

    async def _models(self) -> dict[str, _Model]:
        listed = self._parsed(_Models, await self._send("GET", "/v1/models"))
        return {model.id: model for model in listed.data}

    async def _weight_version(self) -> str:
        return self._parsed(_WeightInfo, await self._send("GET", "/weight_info")).weight_version

    async def _send(
        self, method: str, address: str, body: dict[str, Any] | None = None, accepted: Sequence[int] = ()
    ) -> Any:
        """Returns the response, with a status below 300 or an `accepted` one."""
        import httpx2
        import openai

        call = self._client.get if method == "GET" else self._client.post
        with self._errors():
            try:
                return await call(address, cast_to=httpx2.Response, **({} if body is None else {"body": body}))
            except openai.APIStatusError as error:
                if error.status_code not in accepted:
                    raise
                return error.response

    def _parsed(self, kind: type[Body], response: Any, empty: bytes = b"") -> Body:
        """empty: stands for an empty body."""
        try:
            return kind.model_validate_json(response.content or empty)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ModelError(
                f"{self.base_url}: the response is not that of vLLM: {where}: {first['msg']}; start vLLM 0.32 or newer"
            ) from None
