import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scriptedvllm import ScriptedVllm
from thinkseg.errors import ModelError
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.vllm import GENERATE, LOAD_ADAPTER, TokenRequest, VllmServer
from thinkseg.training.grpo import servers as module
from thinkseg.training.grpo.recipe import Rollout
from thinkseg.training.grpo.servers import ServerPool, connect


@pytest.fixture
def servers(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ScriptedVllm]]:
    monkeypatch.setattr(module, "MAX_RETRIES", 0)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    encoder = Encoder.load(qwen2_5)
    with ScriptedVllm(encoder) as one, ScriptedVllm(encoder) as other:
        yield [one, other]


async def load(server: VllmServer) -> None:
    await server.load_adapter("one", Path("/one"))


def loaded(servers: list[ScriptedVllm]) -> ServerPool:
    pool = ServerPool([server.url for server in servers], [GENERATE, LOAD_ADAPTER], 10.0)
    pool.load(load)
    return pool


def requests(count: int) -> list[tuple[int, TokenRequest]]:
    """Each has its number as its prompt."""
    return [(number, TokenRequest([100 + number], [], {"n": 1})) for number in range(count)]


def prompts(server: ScriptedVllm) -> list[int]:
    return sorted(body["token_ids"][0] - 100 for body in server.asked)


def test_generate_spreads_requests_in_order(servers: list[ScriptedVllm]) -> None:
    generated = loaded(servers).generate(requests(5))
    assert [one.prompt_token_ids for one in generated] == [[100 + number] for number in range(5)]
    assert [prompts(server) for server in servers] == [[0, 2, 4], [1, 3]]


def test_generate_server_down_sends_its_requests_to_others_once(
    servers: list[ScriptedVllm], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = loaded(servers)
    servers[1].is_down = True
    generated = pool.generate(requests(6))
    assert [one.prompt_token_ids for one in generated] == [[100 + number] for number in range(6)]
    assert prompts(servers[0]) == [0, 1, 2, 3, 4, 5]
    assert capsys.readouterr().err.count("its prompts go to other servers") == 1


def test_load_server_up_again_gets_version_and_requests(
    servers: list[ScriptedVllm], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = loaded(servers)
    servers[1].is_down = True
    pool.generate(requests(2))
    servers[1].is_down = False
    servers[1].adapters.clear()  # as after a restart
    pool.load(load)
    pool.generate(requests(2))
    assert servers[1].adapters == {"one": "/one"}
    assert prompts(servers[1]) == [1]
    assert "is up again" in capsys.readouterr().err


def test_generate_all_down_waits_and_says_so_once(
    servers: list[ScriptedVllm], capsys: pytest.CaptureFixture[str]
) -> None:
    pool = loaded(servers)
    for server in servers:
        server.is_down = True
        server.adapters.clear()

    def restart() -> None:
        time.sleep(0.2)
        servers[1].is_down = False

    thread = threading.Thread(target=restart)
    thread.start()
    generated = pool.generate(requests(4))
    thread.join()
    assert [one.prompt_token_ids for one in generated] == [[100 + number] for number in range(4)]
    assert prompts(servers[1]) == [0, 1, 2, 3]
    assert capsys.readouterr().err.count("all servers are down") == 1


def test_generate_refused_request_raises(servers: list[ScriptedVllm]) -> None:
    """The fault is in the request: it would fail on every server."""
    pool = loaded(servers)
    servers[0].replies = servers[1].replies = lambda body: ["Here."] * 3
    with pytest.raises(ModelError, match="3 replies; 1 wanted"):
        pool.generate(requests(2))


def test_connect_server_down_raises(servers: list[ScriptedVllm]) -> None:
    servers[1].is_down = True
    rollout: Any = Rollout(engine="vllm", servers=tuple(server.url for server in servers), sync="weights")
    with pytest.raises(ModelError, match=rf"{servers[1].url}: status 500"):
        connect(rollout)


def test_load_first_time_server_down_raises(servers: list[ScriptedVllm]) -> None:
    """Later, its prompts would go to the other."""
    pool = ServerPool([server.url for server in servers], [GENERATE], 10.0)
    servers[1].is_down = True
    with pytest.raises(ModelError, match="status 500"):
        pool.load(load)


def test_max_model_len_is_that_of_smallest_server(servers: list[ScriptedVllm]) -> None:
    servers[1].max_model_len = 128
    assert loaded(servers).max_model_len == 128
