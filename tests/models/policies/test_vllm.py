import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scriptedserver import Response, failed
from scriptedvllm import LOGPROB, ScriptedVllm, images_of
from thinkseg.errors import ModelError
from thinkseg.models.policies.client import ClientSettings, ServerDownError
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.vllm import CACHES, GENERATE, LOAD_ADAPTER, RPC, TokenRequest, VllmServer
from tinymodels import picture


@pytest.fixture
def server(qwen2_5: Path) -> Iterator[ScriptedVllm]:
    with ScriptedVllm(Encoder.load(qwen2_5)) as started:
        yield started


def connected(server: ScriptedVllm, *work: Any) -> Any:
    """Connects, awaits coroutines made by functions of the client, and returns the last result."""

    async def run() -> Any:
        client = VllmServer(server.url, ClientSettings(max_retries=0))
        await client.connect([GENERATE])
        result: Any = client
        for make in work:
            result = await make(client)
        await client.close()
        return result

    return asyncio.run(run())


def request(n: int = 2) -> TokenRequest:
    return TokenRequest([41, 42], [], {"n": n, "temperature": 1.0})


def generate(client: VllmServer) -> Coroutine[Any, Any, Any]:
    return client.generate(request())


def adapter(name: str) -> Any:
    return lambda client: client.load_adapter(name, Path("/policies") / name)


def weights(version: str) -> Any:
    return lambda client: client.load_weights(version, Path("/policies") / version)


def test_generate_returns_tokens_with_logprobs(server: ScriptedVllm) -> None:
    ids = [*server.encoder.content_ids("Here."), server.encoder.end_id]
    generated = connected(server, generate)
    assert generated.prompt_token_ids == [41, 42]
    assert [choice.token_ids for choice in generated.choices] == [ids, ids]
    assert generated.choices[0].token_logprobs == [LOGPROB] * len(ids)
    assert server.asked[0]["model"] == "base"
    assert server.asked[0]["sampling_params"] == {"n": 2, "temperature": 1.0, "logprobs": 0, "detokenize": False}


def test_generate_sends_images_lossless(server: ScriptedVllm) -> None:
    image, pad = picture(0), server.encoder.image_pad_id
    generated = connected(server, lambda client: client.generate(TokenRequest([41, pad, 42], [image], {"n": 1})))
    assert np.array_equal(images_of(server.asked[0])[0][..., ::-1], image)
    assert generated.prompt_token_ids == [41, *[pad] * 4, 42]


@pytest.mark.parametrize(
    ("address", "switch"),
    [(GENERATE, "--enable-scale-out"), (LOAD_ADAPTER, "--enable-lora"), (RPC, "VLLM_SERVER_DEV_MODE=1")],
)
def test_connect_missing_address_raises_with_switch(server: ScriptedVllm, address: str, switch: str) -> None:
    server.missing = [address]
    with pytest.raises(ModelError, match=f"no {address}; start the server with {switch}"):
        asyncio.run(VllmServer(server.url).connect([address]))


def test_load_adapter_replaces_previous(server: ScriptedVllm) -> None:
    connected(server, adapter("one"), adapter("two"), generate)
    assert server.adapters == {"two": "/policies/two"}
    assert server.asked[0]["model"] == "two"


def test_load_adapter_loaded_by_other_process_loads_once(server: ScriptedVllm) -> None:
    connected(server, adapter("one"))
    connected(server, adapter("one"), generate)
    assert server.posted.count(LOAD_ADAPTER) == 1
    assert server.asked[0]["model"] == "one"


def test_load_adapter_loaded_by_other_process_meanwhile_is_used(
    server: ScriptedVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM refuses a name that it has already."""

    def post(path: str, body: dict[str, Any], headers: dict[str, str]) -> Response:
        if path != LOAD_ADAPTER or not body:
            return ScriptedVllm.post(server, path, body, headers)
        server.adapters[body["lora_name"]] = body["lora_path"]
        return failed(400, "has already been loaded")

    monkeypatch.setattr(server, "post", post)
    connected(server, adapter("one"), generate)
    assert server.asked[0]["model"] == "one"


def test_load_adapter_refused_raises_with_reason(server: ScriptedVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = failed(400, "rank 16 is greater than max_lora_rank 8")
    monkeypatch.setattr(server, "post", lambda *_: refused)
    with pytest.raises(ModelError, match="rank 16 is greater than max_lora_rank 8"):
        connected(server, adapter("one"))


def test_load_adapter_of_other_folder_raises(server: ScriptedVllm) -> None:
    server.adapters["one"] = "/elsewhere"
    with pytest.raises(ModelError, match="did not load /policies/one"):
        connected(server, adapter("one"))


def test_load_weights_resets_caches_before_resume(server: ScriptedVllm) -> None:
    connected(server, weights("v1"), weights("v1"), generate)
    assert server.posted == ["/pause", RPC, *CACHES, "/update_weight_version", "/resume", GENERATE]
    assert server.weights_path == "/policies/v1"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"finish_reason": "abort"}, ServerDownError, "ended a reply by 'abort'"),
        ({"weight_versions": [{"version": "v0"}]}, ServerDownError, "the weights 'v0', not 'v1'"),
        ({"logprobs": {"content": []}}, ModelError, "without one log-probability per token"),
        ({"token_ids": "abc"}, ModelError, "choices.0.token_ids: Input should be a valid array"),
    ],
)
def test_generate_unusable_reply_raises(
    server: ScriptedVllm, changes: dict[str, Any], kind: type[ModelError], message: str
) -> None:
    server.changes = changes
    with pytest.raises(kind, match=message):
        connected(server, weights("v1"), generate)


def test_generate_adapter_over_other_weights_raises(server: ScriptedVllm) -> None:
    server.version = "v0"
    with pytest.raises(ModelError, match="restart the server") as caught:
        connected(server, adapter("one"), generate)
    assert not isinstance(caught.value, ServerDownError)


def test_generate_restarted_server_raises_server_down(server: ScriptedVllm) -> None:
    async def forget(_: VllmServer) -> None:
        server.adapters.clear()

    with pytest.raises(ServerDownError, match="no longer has the model 'one'"):
        connected(server, adapter("one"), forget, generate)


def test_generate_fewer_replies_than_requested_raises(server: ScriptedVllm) -> None:
    server.replies = lambda body: ["Here."]
    with pytest.raises(ModelError, match="1 replies; 2 wanted"):
        connected(server, generate)
