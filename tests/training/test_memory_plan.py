"""Compares the estimates with real models, and with values calculated by hand."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipefiles import changed_recipe
from thinkseg.chains import CHAINS
from thinkseg.cli import app
from thinkseg.data import shapes
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import BUNDLED
from thinkseg.models.policies.qwen.checkpoint import create_model, load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import memory_plan
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, Rollout
from thinkseg.training.loop.optimizers import create_optimizers
from thinkseg.training.memory_plan import (
    AUTOCAST,
    BF16,
    FP32,
    AnyRecipe,
    Kept,
    MemoryPlan,
    Sharding,
    activations,
    load,
    model_states,
    report,
    stats_of,
)
from thinkseg.training.model_stats import created_model_stats, model_stats
from thinkseg.training.recipes import Create, Lora, ModelRecipe
from thinkseg.training.row_sizes import RowSize, packed_row, turn_sizes
from thinkseg.training.sft.recipe import Recipe, Stage
from thinkseg.training.trainer import trainable
from thinkseg.types import Turn, View
from tinymodels import TEXT, VISION

RECIPES = Path(__file__).parent.parent.parent / "recipes"


def plan(recipe: AnyRecipe, devices: int = 1) -> list[MemoryPlan]:
    return memory_plan.plan(recipe, stats_of(recipe.model), devices)


def grpo(folder: Path, **changes: Any) -> GrpoRecipe:
    settings: dict[str, Any] = {
        "model": ModelRecipe(name=str(folder)),
        "data": (PromptSource(name="shapes"),),
        "rewards": {"format": 1.0},
        "steps": 5,
        "num_frames": 2,
        "frame_wh": (56, 56),
        "prompts_per_step": 3,
        "num_generations": 4,
        "max_new_tokens": 8,
        "precision": "fp32",
    }
    return GrpoRecipe(**settings | changes)


# ---- parameters


@pytest.mark.parametrize("kind", ["qwen2_5", "qwen3"])
def test_model_stats_equal_the_parameters_of_the_loaded_model(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(kind)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    model, found = load_model(folder), model_stats(tmp_path)
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.vision.params == sum(p.numel() for p in model.model.visual.parameters())
    assert found.embedding_params == model.get_input_embeddings().weight.numel()  # the head is the same
    assert found.kv_per_token == 2 * TEXT["num_hidden_layers"] * TEXT["num_key_value_heads"] * 24


def test_model_stats_of_a_model_to_create_equal_those_of_its_checkpoint(qwen2_5: Path, tokenizer: Any) -> None:
    assert created_model_stats(Create(vision=VISION, text=TEXT, vocab_size=len(tokenizer))) == model_stats(qwen2_5)


def test_model_stats_of_an_unknown_name_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # avoids network access
    with pytest.raises(ModelError, match="no/such: no such folder, and HF_HUB_OFFLINE is set"):
        model_stats(Path("no") / "such")


# ---- bytes of a model


def state_bytes(optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Bytes of all states but the step counters."""
    states = [state for part in optimizers for of_one in part.state.values() for state in of_one.values()]
    return sum(state.nbytes for state in states if torch.is_tensor(state) and state.ndim)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("source", [{}, {"train_vision": True}, {"lora": Lora(rank=3)}], ids=["text", "all", "lora"])
@pytest.mark.parametrize("kind", ["qwen2_5", "qwen3"])
def test_model_states_equal_those_of_a_real_update(
    kind: str, source: dict[str, Any], optimizer: str, request: pytest.FixtureRequest
) -> None:
    recipe = ModelRecipe(name=str(request.getfixturevalue(kind)), **source)
    states = model_states(stats_of(recipe), recipe, optimizer, bf16=False)
    model = trainable(load_model(Path(str(recipe.name))), recipe, False)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.grad = torch.ones_like(p)
    real = create_optimizers(optimizer, model, 1e-3, 0.0)
    for part in real:
        part.step()
    assert states.weights == sum(p.nbytes for p in model.parameters())
    assert sum(states.trainable.values()) == sum(p.numel() for p in trained.values())
    assert states.gradients == sum(p.grad.nbytes for p in trained.values() if p.grad is not None)
    assert states.optimizer == state_bytes(real)


def test_model_states_in_bf16_by_hand(qwen2_5: Path) -> None:
    model = model_stats(qwen2_5)
    trained = model.language.params + model.embedding_params
    full = model_states(model, ModelRecipe(name="it"), "adamw", bf16=True)
    assert full.weights == 4 * model.params + 2 * trained  # with the copies of autocast
    lora = model_states(model, ModelRecipe(name="it", lora=Lora(rank=2)), "adamw", bf16=True)
    assert lora.weights == 2 * model.params + 4 * 2 * model.lora_width


# ---- bytes of a micro-batch


@contextmanager
def kept_bytes(model: Any) -> Iterator[list[int]]:
    """Sizes of the tensors that autograd saves, without the model's weights. Counts each storage once."""
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes
    sizes += [t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in weights]


@pytest.mark.parametrize("kept", [FP32, AUTOCAST, BF16], ids=["fp32", "autocast", "bf16"])
def test_activations_match_tensors_saved_by_autograd(tokenizer: Any, kept: Kept) -> None:
    """Compares the difference of one layer, which excludes embeddings and head."""
    tokens, totals, found = 96, [], []
    for layers in (2, 3):
        text = TEXT | {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": layers}
        model = create_model(VISION, text, tokenizer, 0).to(torch.bfloat16 if kept == BF16 else torch.float32)
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None]
        positions = torch.arange(tokens).expand(3, 1, tokens)
        ids = torch.full((1, tokens), 50)
        with kept_bytes(model) as sizes, torch.autocast("cpu", torch.bfloat16, enabled=kept == AUTOCAST):
            model.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        tower = created_model_stats(Create(vision=VISION, text=text, vocab_size=len(tokenizer))).language
        totals.append(
            sum(sizes) - (2 * tower.matrix_params if kept == AUTOCAST else 0)
        )  # bf16 copies of weights are not activations
        found.append(activations(tower, tokens, kept, checkpointing=False))
    assert found[1] - found[0] == pytest.approx(totals[1] - totals[0], rel=0.15)


@pytest.mark.parametrize("kept", [FP32, AUTOCAST, BF16], ids=["fp32", "autocast", "bf16"])
def test_activations_of_vision_tower_match_tensors_saved_by_autograd(tokenizer: Any, kept: Kept) -> None:
    dtype = torch.bfloat16 if kept == BF16 else torch.float32
    grid, totals, found = 12, [], []
    for layers in (2, 3):
        vision = VISION | {"hidden_size": 64, "intermediate_size": 192, "depth": layers}
        visual = create_model(vision, TEXT, tokenizer, 0).model.visual.to(dtype)
        with kept_bytes(visual) as sizes, torch.autocast("cpu", torch.bfloat16, enabled=kept == AUTOCAST):
            visual(torch.zeros(grid**2, 3 * 2 * 14 * 14, dtype=dtype), grid_thw=torch.tensor([[1, grid, grid]]))
        tower = created_model_stats(Create(vision=vision, text=TEXT, vocab_size=len(tokenizer))).vision
        totals.append(sum(sizes) - (2 * tower.matrix_params if kept == AUTOCAST else 0))
        found.append(activations(tower, grid**2, kept, checkpointing=False))
    assert found[1] - found[0] == pytest.approx(totals[1] - totals[0], rel=0.2)


def test_activations_with_checkpointing_are_one_layer_and_all_inputs(qwen2_5: Path) -> None:
    tower = replace(model_stats(qwen2_5).language, layers=10)
    one = activations(replace(tower, layers=1), 7, FP32, checkpointing=False)
    assert activations(tower, 7, FP32, checkpointing=False) == 10 * one
    assert activations(tower, 7, FP32, checkpointing=True) == one + 10 * 7 * 48 * 4


# ---- rows


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_turn_sizes_are_close_to_the_encoded_turn(chain: str) -> None:
    view = View(2, (112, 112))
    first, *_ = turn_sizes(chain, view, model_stats(BUNDLED["shapes"]))
    turn = next(CHAINS[chain](shapes.load("val", 0), view))
    real = len(Encoder.load(BUNDLED["shapes"]).encode((turn,)).input_ids)
    assert real <= first.tokens <= 1.5 * real


def test_packed_row_counts_shared_frames_once(qwen2_5: Path) -> None:
    model = model_stats(qwen2_5)
    image = np.zeros((56, 56, 3), np.uint8)
    dialogues = [(Turn(("Look.", image, question)), reply) for question, reply in (("a" * 10, "b" * 19), ("c" * 6, ""))]
    # A text has one token per three characters plus one, an image has its 4 visual tokens plus two.
    prompt, labels = (1 + 1) + (2 + 4), (1 + 6) + 1
    assert packed_row(dialogues, model) == RowSize(prompt + (1 + 3) + (1 + 2) + labels, 16, labels)
    assert packed_row(dialogues[:1], model) == RowSize(prompt + (1 + 3) + 7, 16, 7)


# ---- plans


def test_plan_of_grpo_counts_the_cache_by_formula(qwen2_5: Path) -> None:
    model = model_stats(qwen2_5)
    recipe = grpo(qwen2_5)
    (made,), (first,) = plan(recipe), turn_sizes("veason", recipe.view, model)
    assert made.row.tokens == first.tokens + 4 * 8
    assert made.kv_cache == (3 * first.tokens + 12 * 8) * 4 * model.kv_per_token
    (less,) = plan(grpo(qwen2_5, max_cache_tokens=1))  # at least one group
    assert less.kv_cache == (3 * first.tokens + 4 * 8) * 4 * model.kv_per_token
    (half,) = plan(grpo(qwen2_5, precision="bf16"))
    assert half.kv_cache == made.kv_cache // 2


def test_plan_of_grpo_has_reference_only_if_needed(qwen2_5: Path) -> None:
    assert plan(grpo(qwen2_5))[0].states.reference == 4 * model_stats(qwen2_5).params
    assert plan(grpo(qwen2_5, beta=0.0))[0].states.reference == 0
    lora = ModelRecipe(name=str(qwen2_5), lora=Lora(rank=2))
    assert plan(grpo(qwen2_5, model=lora))[0].states.reference == 0  # the adapter is disabled instead


def test_plan_of_rollouts_on_servers_has_no_cache(qwen2_5: Path) -> None:
    rollout = Rollout(engine="vllm", servers=("http://host:1",), sync="weights")
    (made,) = plan(grpo(qwen2_5, rollout=rollout))
    assert (made.kv_cache, made.prefill) == (0, 0)


def test_plan_of_two_turns_counts_the_second_for_each_rollout(qwen2_5: Path) -> None:
    (one,), (two,) = plan(grpo(qwen2_5)), plan(grpo(qwen2_5, chain="revseg", closeup_wh=(84, 84)))
    first, second = turn_sizes("revseg", View(2, (56, 56), closeup_wh=(84, 84)), model_stats(qwen2_5))
    assert two.row.tokens == first.tokens + 4 * (second.tokens + 2 * 8)
    assert two.kv_cache > one.kv_cache
    (larger,) = plan(grpo(qwen2_5, chain="revseg", closeup_wh=(112, 84)))
    assert larger.row.tokens - two.row.tokens == 4 * 3


def test_plan_of_sft_has_one_entry_per_stage() -> None:
    create = Create(vision=VISION, text=TEXT, vocab_size=300)
    stages = (
        Stage(name="see", objective="vision_probe", steps=3, batch_size=2, learning_rate=1e-3, optimizer="muon"),
        Stage(name="say", objective="causal_lm", data={"traces": 1.0}, steps=4, batch_size=3, learning_rate=1e-3),
    )
    see, say = plan(
        Recipe(model=ModelRecipe(create=create), stages=stages, num_frames=2, frame_wh=(56, 56), precision="fp32")
    )
    model = created_model_stats(create)
    assert (see.name, see.rows, see.row.tokens) == ("see", 2, 4 * 4)  # four frames per clip, 2 x 2 tokens each
    assert see.states.weights == 4 * model.vision.params
    assert see.states.optimizer == 8 * model.vision.params - 4 * model.vision.matrix_params
    assert (say.name, say.rows) == ("say", 3)
    assert say.states.optimizer == 8 * model.params  # a created model is trained completely


def test_plan_of_keyframe_only_without_tokenizer_equals_traces() -> None:
    stage = Stage(
        name="one", objective="causal_lm", data={"keyframe_only": 1.0}, steps=4, batch_size=3, learning_rate=1e-3
    )
    model = ModelRecipe(create=Create(vision=VISION, text=TEXT))
    recipe = Recipe(model=model, stages=(stage,), num_frames=2, frame_wh=(56, 56))
    traces = changed_recipe(recipe, stages=(changed_recipe(stage, data={"traces": 1.0}),))
    assert plan(recipe) == plan(traces)


def test_plan_with_unsupported_frame_size_raises(qwen2_5: Path) -> None:
    with pytest.raises(SettingsError, match="frame_wh: \\[60, 56\\] are not multiples of 28"):
        plan(grpo(qwen2_5, frame_wh=(60, 56)))


def test_per_device_sharded_divides_states_but_not_activations(qwen2_5: Path) -> None:
    (made,) = plan(grpo(qwen2_5))
    states = replace(made.states, weights=80, gradients=16, optimizer=160, reference=40)
    alone = replace(made, states=states, activations=1000, kv_cache=500, prefill=100)
    assert alone.per_device() == alone.per_device(8) == 80 + 16 + 160 + 40 + 1000
    sharded = replace(alone, sharding=Sharding(update=7, rollouts=70))
    assert sharded.per_device(8) == 10 + 2 + 20 + 5 + 1000 + 7
    # Gradients and activations of the update do not exist during the rollouts.
    assert replace(sharded, kv_cache=1500).per_device(8) == 10 + 20 + 5 + 1600 + 70
    offloaded = replace(sharded, sharding=Sharding(update=7, rollouts=70, cpu_offload=True))
    assert offloaded.per_device(8) == 1000 + 7


def test_per_node_counts_copies_in_the_memory_of_the_cpu(qwen2_5: Path) -> None:
    params = model_stats(qwen2_5).params
    whole = {"model": ModelRecipe(name=str(qwen2_5), train_vision=True)}
    assert plan(grpo(qwen2_5, **whole))[0].per_node(8) == 8 * 4 * params
    # At the end, trained parameters and the model that is saved; offloaded: weights, gradients, AdamW, reference.
    assert plan(grpo(qwen2_5, **whole, sharding="full"))[0].per_node(8) == (4 + 4) * params
    offloaded = grpo(qwen2_5, **whole, sharding="full", cpu_offload=True)
    assert plan(offloaded)[0].per_node(8) == (4 + 4 + 8 + 4 + 4 + 4) * params


def test_plan_devices_share_the_prompts_of_a_step(qwen2_5: Path) -> None:
    recipe = grpo(qwen2_5, prompts_per_step=6)
    assert plan(recipe, devices=4) == plan(changed_recipe(recipe, prompts_per_step=2))
    assert plan(recipe, devices=4) != plan(recipe)


def test_plan_sharded_by_hand(qwen2_5: Path) -> None:
    """In bf16: frozen weights and the reference take 2 bytes, trained weights 4."""
    model = model_stats(qwen2_5)
    (made,) = plan(grpo(qwen2_5, precision="bf16", sharding="full"))
    trained = model.language.params + model.embedding_params
    layer = max(model.language.params, model.vision.params) // 2
    assert made.states.weights == 4 * trained + 2 * model.vision.params
    assert made.states.reference == 2 * model.params
    update = 2 * (model.embedding_params + 2 * layer) + 2 * model.embedding_params + 6 * layer
    assert made.sharding == Sharding(update, 2 * model.params)


# ---- the report


def test_report_of_bundled_grpo_recipes(qwen2_5: Path) -> None:
    paths = [path for path in sorted(RECIPES.glob("*.yaml")) if "rewards:" in path.read_text()]
    assert len(paths) >= 4
    for path in paths:
        recipe = load(path, str(qwen2_5))
        model = stats_of(recipe.model)
        assert "KV cache" in report(recipe, model)


def test_report_of_lora_has_the_adapter(qwen2_5: Path) -> None:
    recipe = grpo(qwen2_5, model=ModelRecipe(name=str(qwen2_5), lora=Lora(rank=2)))
    model = stats_of(recipe.model)
    adapter = f"{2 * model.lora_width / 1e6:.2f} M"
    lines = report(recipe, model).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines if line.startswith("LoRA adapter")] == [adapter]


def test_command_with_configuration_only_prints_report(
    qwen2_5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((qwen2_5 / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 29568}
    config["text_config"]["rope_parameters"]["mrope_section"] = [1024, 512, 512]
    config["text_config"].pop("layer_types", None)
    config["vision_config"]["out_hidden_size"] = 8192
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert app.main(["train", "plan", str(RECIPES / "veason-3b.yaml"), "--model", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    billions = model_stats(tmp_path).params / 1e9
    assert lines["total"][1:3] == [f"{billions:.2f}", "B"]
    assert lines["none"][1::2] == [lines["none"][1]] * 4
    assert float(lines["full"][7]) < float(lines["full"][1]) / 2  # the rollouts gather all parameters
    assert err == ""


def test_command_sharded_recipe_prints_memory_on_each_device(qwen2_5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(RECIPES / "veason-3b.yaml"), "--model", str(qwen2_5), "--set", "sharding=full", "--devices", "4"]
    assert app.main(["train", "plan", *arguments]) == 0
    rows = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert "memory on each of 4 devices" in rows
    assert {"gathered in the update", "gathered in rollouts"} <= rows.keys()
    assert rows["total per device, at the peak"][-2] == rows["full"][5]


def test_command_set_overrides_the_recipe(qwen2_5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "model.train_vision=false", "--set", "model.lora={rank: 2, alpha: 4}"]
    assert app.main(["train", "plan", str(RECIPES / "veason-3b.yaml"), "--model", str(qwen2_5), *changes]) == 0
    rows = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert (rows["vision"][-1], rows["LoRA adapter"][2:]) == (
        "-",
        ["-", f"{2 * model_stats(qwen2_5).lora_width / 1e6:.2f}", "M"],
    )


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("vision", "patch_size", 0, "model.create.vision.patch_size: must be an integer >= 1; got 0"),
        ("vision", "depth", 1_000_000, "model.create.vision.depth: must be <= 1000; got 1000000"),
        ("text", "num_attention_heads", "x", "model.create.text.num_attention_heads: must be an integer >= 1"),
        ("text", "num_key_value_heads", [], "model.create: no model has these sizes"),
    ],
)
def test_created_model_stats_impossible_sizes_raise(part: str, field: str, value: Any, message: str) -> None:
    parts = {"vision": VISION, "text": TEXT}
    parts[part] = {**parts[part], field: value}
    with pytest.raises(SettingsError) as caught:
        created_model_stats(Create(**parts))
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1
