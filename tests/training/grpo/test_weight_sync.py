from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from processes import run_processes
from scriptedvllm import ScriptedVllm
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.vllm import GENERATE, LOAD_ADAPTER, RPC
from thinkseg.training.grpo.servers import ServerPool
from thinkseg.training.grpo.weight_sync import WeightSync
from thinkseg.training.loop.sharding import shard
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.trainer import trainable


@pytest.fixture
def server(qwen2_5: Path) -> Iterator[ScriptedVllm]:
    with ScriptedVllm(Encoder.load(qwen2_5)) as started:
        yield started


def policy(folder: Path, lora: bool) -> Any:
    return trainable(load_model(folder, "fp32"), ModelRecipe(name="tiny", lora=Lora(rank=2) if lora else None), False)


def synchronized(server: ScriptedVllm, folder: Path, adapter: bool, bf16: bool = False) -> WeightSync:
    return WeightSync(ServerPool([server.url], [GENERATE], 10.0), folder, adapter, bf16)


def test_update_adapter_loads_new_name_per_step(server: ScriptedVllm, qwen2_5: Path, tmp_path: Path) -> None:
    model, weights = policy(qwen2_5, lora=True), synchronized(server, tmp_path / "sync", adapter=True)
    names = []
    for step in range(3):
        weights.update(model, step)
        ((name, folder),) = server.adapters.items()
        names.append(name)
        assert Path(folder) == tmp_path / "sync" / name
        assert (Path(folder) / "adapter_config.json").exists()
    assert len(set(names)) == 3
    assert sorted(path.name for path in (tmp_path / "sync").iterdir()) == names[1:]


def test_update_weights_writes_current_weights_with_output_layer(
    server: ScriptedVllm, qwen2_5: Path, tmp_path: Path
) -> None:
    model, weights = policy(qwen2_5, lora=False), synchronized(server, tmp_path, adapter=False)
    with torch.no_grad():
        model.get_input_embeddings().weight += 1
    weights.update(model, 0)
    files = [load_file(path) for path in sorted(Path(server.weights_path).glob("*.safetensors"))]
    written = {name: value for file in files for name, value in file.items()}
    assert torch.equal(written["model.embed_tokens.weight"], model.get_input_embeddings().weight)
    assert torch.equal(written["lm_head.weight"], model.get_input_embeddings().weight)
    assert server.version == Path(server.weights_path).name


def test_update_weights_in_bf16_rounds_all(server: ScriptedVllm, qwen2_5: Path, tmp_path: Path) -> None:
    model = policy(qwen2_5, lora=False)
    synchronized(server, tmp_path, adapter=False, bf16=True).update(model, 0)
    files = [load_file(path) for path in Path(server.weights_path).glob("*.safetensors")]
    written = {name: value for file in files for name, value in file.items()}
    assert {value.dtype for value in written.values()} == {torch.bfloat16}
    assert torch.equal(written["lm_head.weight"], model.get_input_embeddings().weight.bfloat16())
    assert model.dtype == torch.float32


def update_sharded(url: str, model_folder: Path, folder: Path, adapter: bool) -> None:
    """Runs in each of two processes."""
    model = shard(policy(model_folder, adapter), bf16=False)
    weights = WeightSync(ServerPool([url], [GENERATE], 10.0), folder, adapter)
    weights.update(model, 0)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    weights.pool.close()


@pytest.mark.parametrize("adapter", [False, True])
def test_update_sharded_loads_same_files_once(
    server: ScriptedVllm, qwen2_5: Path, tmp_path: Path, adapter: bool
) -> None:
    run_processes(2, update_sharded, server.url, qwen2_5, tmp_path / "two", adapter)
    synchronized(server, tmp_path / "one", adapter).update(policy(qwen2_5, adapter), 0)
    assert len([path for path in server.posted if path in (LOAD_ADAPTER, RPC)]) == 2
    one, two = (next((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for path in one.glob("*.safetensors"):
        expected, written = load_file(path), load_file(two / path.name)
        assert expected.keys() == written.keys()
        if not adapter:  # the first matrices of adapters are random
            assert all(torch.equal(expected[name], written[name]) for name in expected)


def test_close_removes_own_folders_only(server: ScriptedVllm, qwen2_5: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    weights = synchronized(server, tmp_path, adapter=False)
    weights.update(policy(qwen2_5, lora=False), 0)
    weights.close()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_update_after_killed_run_removes_its_folders(server: ScriptedVllm, qwen2_5: Path, tmp_path: Path) -> None:
    model = policy(qwen2_5, lora=True)
    synchronized(server, tmp_path, adapter=True).update(model, 0)
    server.adapters.clear()
    (tmp_path / ".policy-0-0.partial").mkdir()  # it was killed while it wrote
    synchronized(server, tmp_path, adapter=True).update(model, 0)
    assert [path.name for path in tmp_path.iterdir()] == list(server.adapters)
