"""Commands and processes of servers. A small web server takes the place of vLLM."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recipefiles import changed_recipe
from thinkseg.cli import app
from thinkseg.errors import ModelError, SettingsError
from thinkseg.training.grpo import serving
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, Rollout
from thinkseg.training.grpo.serving import ServerCommand, ServerProcess, run_servers, server_commands
from thinkseg.training.memory_plan import stats_of
from thinkseg.training.recipes import Lora, ModelRecipe

TWO = ("http://127.0.0.1:8000", "http://127.0.0.1:8001/")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SERVER = f"""
import socket, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall({OK!r})
        connection.close()
"""


def recipe(folder: Path, lora: int = 0, **changes: Any) -> GrpoRecipe:
    made = GrpoRecipe(
        model=ModelRecipe(name=str(folder), lora=Lora(rank=lora) if lora else None),
        data=(PromptSource(name="shapes"),),
        rewards={"format": 1.0},
        steps=1,
        num_frames=3,
        frame_wh=(56, 56),
        max_new_tokens=300,
        rollout=Rollout(engine="vllm", servers=TWO, sync="adapter" if lora else "weights"),
    )
    return changed_recipe(made, **changes)


def commands(recipe: GrpoRecipe, *gpus: int) -> list[ServerCommand]:
    return server_commands(recipe, stats_of(recipe.model), gpus=gpus)


def value(command: ServerCommand, option: str) -> str:
    return command.arguments[command.arguments.index(option) + 1]


def test_server_commands_weights(qwen2_5: Path) -> None:
    one, two = commands(recipe(qwen2_5, precision="fp32"))
    assert one.arguments[:3] == ("vllm", "serve", str(qwen2_5))
    assert [command.address for command in (one, two)] == [("127.0.0.1", 8000), ("127.0.0.1", 8001)]
    assert [value(command, "--port") for command in (one, two)] == ["8000", "8001"]
    assert value(one, "--limit-mm-per-prompt") == '{"image": 3}'
    assert value(one, "--dtype") == "float32"
    assert value(one, "--logprobs-mode") == "processed_logprobs"
    assert one.variables == {"VLLM_SERVER_DEV_MODE": "1"}
    assert "--enable-lora" not in one.arguments
    assert str(one).startswith(f"VLLM_SERVER_DEV_MODE=1 vllm serve {qwen2_5} --dtype float32 ")
    assert "--limit-mm-per-prompt '{\"image\": 3}'" in str(one)


def test_server_commands_adapter_has_rank_that_vllm_knows(qwen2_5: Path) -> None:
    one, _ = commands(recipe(qwen2_5, lora=9))
    assert value(one, "--max-lora-rank") == "16"
    assert one.variables == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


def test_server_commands_revseg_has_room_for_both_turns(qwen2_5: Path) -> None:
    one, two = (commands(recipe(qwen2_5, chain=chain, closeup_wh=(84, 84)))[0] for chain in ("veason", "revseg"))
    assert value(two, "--limit-mm-per-prompt") == '{"image": 4}'
    assert int(value(two, "--max-model-len")) >= int(value(one, "--max-model-len")) + 300
    assert int(value(one, "--max-model-len")) % 256 == 0


def test_server_commands_share_gpus_of_each_machine(qwen2_5: Path) -> None:
    hosts = ("http://node1:8000", "http://node1:8001", "http://node2:8000")
    many = recipe(qwen2_5, rollout=Rollout(engine="vllm", servers=hosts, sync="weights"))
    made = commands(many, 0, 1, 2, 5)
    assert [command.variables["CUDA_VISIBLE_DEVICES"] for command in made] == ["0,1", "2,5", "0,1,2,5"]
    assert [value(command, "--tensor-parallel-size") for command in made] == ["2", "2", "4"]


def test_server_commands_one_gpu_each_is_not_parallel(qwen2_5: Path) -> None:
    made = commands(recipe(qwen2_5), 4, 6)
    assert [command.variables["CUDA_VISIBLE_DEVICES"] for command in made] == ["4", "6"]
    assert all("--tensor-parallel-size" not in command.arguments for command in made)


@pytest.mark.parametrize(
    ("changes", "gpus", "message"),
    [
        ({}, (0,), "--gpus: 1 for 2 servers on 127.0.0.1"),
        ({}, (0, 1, 2), "--gpus: 3 for 2 servers on 127.0.0.1"),
        ({"rollout": None}, (), "rollout: has no servers"),
    ],
)
def test_server_commands_unusable_raise(qwen2_5: Path, changes: Any, gpus: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        commands(recipe(qwen2_5, **changes), *gpus)


def test_server_commands_large_rank_raises(qwen2_5: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.lora\.rank: 600 is too large for vLLM; must be <= 512"):
        commands(recipe(qwen2_5, lora=600))


def test_servers_prints_commands_with_more_arguments(
    qwen2_5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe(qwen2_5).model_dump_json(exclude_none=True))
    servers = ["--set", "rollout.servers=[http://127.0.0.1:9000]", "--vllm", "/opt/vllm"]
    assert app.main(["train", "servers", str(file), *servers, "--extra", "--max-num-seqs 64", "--gpus", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("VLLM_SERVER_DEV_MODE=1 CUDA_VISIBLE_DEVICES=1 /opt/vllm serve ")
    assert line.endswith("--port 9000 --max-num-seqs 64")


def free_command(code: str = SERVER) -> ServerCommand:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return ServerCommand(f"http://127.0.0.1:{port}", {}, (sys.executable, "-c", code, str(port)))


def group_ends(group: int) -> bool:
    """Whether no process of a group is left, some time later."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.usefixtures("interruptible")
def test_run_servers_restarts_and_stops_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.02)
    started: list[int] = []
    start = ServerProcess.start

    def noted(self: ServerProcess) -> None:
        start(self)
        started.append(self._process.pid)
        if len(started) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    def kill_first() -> None:
        while "all servers are up" not in "".join(said):
            time.sleep(0.02)
        os.killpg(started[0], signal.SIGKILL)

    said: list[str] = []
    monkeypatch.setattr(serving, "say", said.append)
    monkeypatch.setattr(ServerProcess, "start", noted)
    thread = threading.Thread(target=kill_first)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_servers([free_command(), free_command()])
    thread.join()
    assert len(started) == 3
    assert all(map(group_ends, started))
    assert "vLLM has ended; starting it again" in capsys.readouterr().err


def test_run_servers_one_does_not_start_stops_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.02)
    started: list[ServerProcess] = []
    start = ServerProcess.start
    monkeypatch.setattr(ServerProcess, "start", lambda self: start(self) or started.append(self))
    with pytest.raises(ModelError, match="vLLM has ended with status 3; see its output"):
        run_servers([free_command(), free_command("import sys; sys.exit(3)")])
    assert all(group_ends(server._process.pid) for server in started)


def test_run_servers_no_program_raises() -> None:
    with pytest.raises(SettingsError, match="--vllm: 'missing-vllm' cannot be started: No such file"):
        run_servers([ServerCommand(free_command().url, {}, ("missing-vllm", "serve"))])


def test_run_servers_port_in_use_or_elsewhere_raises() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f"http://127.0.0.1:{busy.getsockname()[1]}"
        for url, reason in ((taken, "Address already in use"), ("http://192.0.2.1:8000", "")):
            with pytest.raises(SettingsError, match=f"{url} cannot be used on this machine: {reason}"):
                run_servers([ServerCommand(url, {}, ())])
