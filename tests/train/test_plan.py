"""What a run will take, against models that are really built, and by hand."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg import cli
from thinkseg.chains import CHAINS
from thinkseg.data import shapes
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import SHIPPED
from thinkseg.models.encoder import Encoder
from thinkseg.models.qwen import create_model, load_model
from thinkseg.train import costs, run
from thinkseg.train.anatomy import anatomy, anatomy_of_created
from thinkseg.train.costs import Work
from thinkseg.train.gpus import GPUS, Gpu
from thinkseg.train.grpo_recipe import GrpoRecipe, Source
from thinkseg.train.jobs_sft import packed
from thinkseg.train.plan import check_fits, load, plan, told
from thinkseg.train.recipe import Create, Lora, ModelRecipe, Recipe, Stage
from thinkseg.types import Turn
from tinymodels import TEXT, VISION

RECIPES = Path(__file__).parent.parent.parent / "recipes"


def grpo(folder: Path, **changes: Any) -> GrpoRecipe:
    settings: dict[str, Any] = {
        "model": ModelRecipe(name=str(folder)),
        "data": (Source("shapes"),),
        "rewards": {"format": 1.0},
        "steps": 5,
        "num_frames": 2,
        "frame_wh": (56, 56),
        "prompts": 3,
        "rollouts": 4,
        "max_new_tokens": 8,
        "precision": "fp32",
    }
    return GrpoRecipe(**settings | changes)


def sft(folder: Path, **changes: Any) -> Recipe:
    stage: dict[str, Any] = {"objective": "words", "data": {"traces": 1.0}, "steps": 5, "batch": 2} | changes
    stages = (Stage("one", learning_rate=1e-3, **stage),)
    return Recipe(ModelRecipe(name=str(folder)), stages, num_frames=2, frame_wh=(56, 56), precision="fp32")


# ---- what a model is made of


@pytest.mark.parametrize("kind", ["qwen2_5", "qwen3"])
def test_weights_are_counted_without_loading_them(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(kind)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    model, found = load_model(folder), anatomy(tmp_path)
    assert found.weights == sum(p.numel() for p in model.parameters())
    assert found.vision.weights == sum(p.numel() for p in model.model.visual.parameters())
    assert found.ends == model.get_input_embeddings().weight.numel()  # the head is the same
    assert found.kept == 2 * TEXT["num_hidden_layers"] * TEXT["num_key_value_heads"] * 24


def test_a_model_that_is_yet_to_be_created(qwen2_5: Path, tokenizer: Any) -> None:
    created = anatomy_of_created(Create(VISION, TEXT, vocab_size=len(tokenizer)))
    assert created == anatomy(qwen2_5)


def test_an_adapter_is_counted(qwen2_5: Path) -> None:
    adapted = run.trainable(load_model(qwen2_5), ModelRecipe(name="it", lora=Lora(rank=3)), False)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert 3 * anatomy(qwen2_5).adapted == trained


def test_a_name_that_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # no waiting for a hub
    with pytest.raises(ModelError, match="not a model folder"):
        anatomy(Path("no") / "such")


# ---- bytes and operations


@contextmanager
def kept_bytes(model: Any) -> Iterator[list[int]]:
    """Sizes of the tensors that autograd saves, each storage once, those of the model's weights left out."""
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes
    sizes += [t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights]


@pytest.mark.parametrize("bf16", [False, True])
def test_activations_are_what_autograd_keeps(tokenizer: Any, bf16: bool) -> None:
    """Of a layer more, so that what the ends of the model keep does not count."""
    tokens, totals, found = 96, [], []
    for layers in (2, 3):
        text = TEXT | {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": layers}
        model = create_model(VISION, text, tokenizer, 0)
        seen = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None]
        positions = torch.arange(tokens).expand(3, 1, tokens)
        ids = torch.full((1, tokens), 50)
        with kept_bytes(model) as sizes, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.model(input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=False)
        tower = anatomy_of_created(Create(VISION, text, vocab_size=len(tokenizer))).language
        totals.append(sum(sizes) - (2 * tower.matrices if bf16 else 0))  # copies of weights are counted elsewhere
        found.append(costs.activations(tower, tokens, bf16, checkpointing=False))
    assert found[1] - found[0] == pytest.approx(totals[1] - totals[0], rel=0.15)


@pytest.mark.parametrize("bf16", [False, True])
def test_activations_of_the_vision_tower_are_what_autograd_keeps(tokenizer: Any, bf16: bool) -> None:
    grid, totals, found = 12, [], []
    for layers in (2, 3):
        vision = VISION | {"hidden_size": 64, "intermediate_size": 192, "depth": layers}
        visual = create_model(vision, TEXT, tokenizer, 0).model.visual
        with kept_bytes(visual) as sizes, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            visual(torch.zeros(grid**2, 3 * 2 * 14 * 14), grid_thw=torch.tensor([[1, grid, grid]]))
        tower = anatomy_of_created(Create(vision, TEXT, vocab_size=len(tokenizer))).vision
        totals.append(sum(sizes) - (2 * tower.matrices if bf16 else 0))
        found.append(costs.activations(tower, grid**2, bf16, checkpointing=False))
    assert found[1] - found[0] == pytest.approx(totals[1] - totals[0], rel=0.2)


def test_checkpointing_keeps_one_layer_and_what_goes_into_each(qwen2_5: Path) -> None:
    tower = replace(anatomy(qwen2_5).language, layers=10)
    one = costs.activations(replace(tower, layers=1), 7, False, checkpointing=False)
    assert costs.activations(tower, 7, False, checkpointing=False) == 10 * one
    assert costs.activations(tower, 7, False, checkpointing=True) == one + 10 * 7 * 48 * 4


def test_operations_by_hand(qwen2_5: Path) -> None:
    model = anatomy(qwen2_5)
    language = 2 * model.language.weights * 5 + 2 * (2 * 2 * 48 * 5 * 9)  # two layers, each q k' and p v
    assert costs.forward(model.language, 5, 9) == language
    # One of the two layers of the tower sees no more than a window of 8 x 8 patches.
    assert costs.forward(model.vision, 100, 100) == 2 * model.vision.weights * 100 + 4 * 32 * 100 * (100 + 64)
    assert costs.head(model, 3) == 2 * 48 * model.vocabulary * 3


def test_time_is_that_of_the_slowest_part() -> None:
    gpu = Gpu("it", tflops=1 / costs.UTILISED, gb=1, gb_s=1 / costs.STREAMED)
    assert Work(flops=3e12, read=2e9, layers=1).seconds(gpu) == pytest.approx(3)
    assert Work(flops=3e12, read=4e9, layers=1, times=2).seconds(gpu) == pytest.approx(8)
    assert Work(flops=0, read=0, layers=10).seconds(gpu) == pytest.approx(10 * costs.LAUNCH_S)


# ---- jobs


def test_the_caches_of_a_reinforcement_run_by_formula(qwen2_5: Path) -> None:
    (job,) = plan(grpo(qwen2_5))
    place = 4 * anatomy(qwen2_5).kept
    rollout = job.phases["rollout"]
    assert rollout["cache of prompts"] == 3 * job.prompt_tokens * place
    assert rollout["cache of rollouts"] == 12 * 8 * place
    assert job.row_tokens == job.prompt_tokens + 4 * 8
    assert job.step_tokens == 3 * job.row_tokens
    (less,) = plan(grpo(qwen2_5, tokens_at_once=1))  # a group is the least
    assert less.phases["rollout"]["cache of rollouts"] == 4 * 8 * place
    assert less.step_seconds(GPUS["h100"]) > job.step_seconds(GPUS["h100"])
    (half,) = plan(grpo(qwen2_5, precision="bf16"))
    assert half.phases["rollout"]["cache of rollouts"] == rollout["cache of rollouts"] / 2


def test_what_is_held_by_hand(qwen2_5: Path) -> None:
    model = anatomy(qwen2_5)
    trained = model.language.weights + model.ends
    (full,) = plan(grpo(qwen2_5))
    assert full.held == {"weights": 4 * model.weights, "optimizer": 8 * trained, "reference": 4 * model.weights}
    assert full.phases["update"]["gradients"] == 4 * trained
    (free,) = plan(grpo(qwen2_5, beta=0.0))
    assert "reference" not in free.held
    (lora,) = plan(grpo(qwen2_5, model=ModelRecipe(name=str(qwen2_5), lora=Lora(rank=2)), precision="bf16"))
    adapter = 2 * model.adapted
    assert lora.held == {"weights": 2 * model.weights, "adapter": 4 * adapter, "optimizer": 8 * adapter}
    (seeing,) = plan(grpo(qwen2_5, model=ModelRecipe(name=str(qwen2_5), train_vision=True), optimizer="muon"))
    matrices = model.language.matrices + model.vision.matrices
    assert seeing.held["optimizer"] == 8 * model.weights - 4 * matrices
    assert seeing.phases["update"]["activations"] > full.phases["update"]["activations"]


@pytest.mark.parametrize("chain", sorted(CHAINS))
def test_prompts_are_about_as_long_as_they_are(chain: str) -> None:
    recipe = grpo(Path("shapes"), chain=chain, frame_wh=(112, 112))
    (job,) = plan(replace(recipe, model=ModelRecipe(name="shapes")))
    turn = next(CHAINS[chain](shapes.load("val", 0), recipe.view))
    real = len(Encoder.load(SHIPPED["shapes"]).encode((turn,)).ids)
    assert real <= job.prompt_tokens <= 1.5 * real


def test_a_second_turn_is_reckoned_for_each_rollout(qwen2_5: Path) -> None:
    (one,), (two,) = plan(grpo(qwen2_5)), plan(grpo(qwen2_5, chain="revseg", closeup_wh=(84, 84)))
    # In a closeup of 84 x 84 there are 9 visual tokens, and each of 4 rollouts writes 8 more.
    assert two.row_tokens - two.prompt_tokens >= 4 * (2 * 8 + 9)
    assert two.phases["rollout"]["cache of rollouts"] > one.phases["rollout"]["cache of rollouts"]
    (larger,) = plan(grpo(qwen2_5, chain="revseg", closeup_wh=(112, 84)))
    assert larger.row_tokens - two.row_tokens == 4 * 3


def test_supervised_rows_share_their_frames(qwen2_5: Path) -> None:
    model = anatomy(qwen2_5)
    image = np.zeros((56, 56, 3), np.uint8)
    dialogues = [(Turn(("Look.", image, question)), reply) for question, reply in (("a" * 10, "b" * 19), ("c" * 6, ""))]
    prompt, row, labelled, patches = packed(dialogues, model)
    # A text has a token more than a third of its letters, an image of 4 visual tokens has two more.
    assert (prompt, patches) == (1 + 1 + 2 + 4, 16)
    assert row == prompt + (1 + 3) + (1 + 6) + (1 + 2) + 1
    assert labelled == (1 + 6) + 1
    assert packed(dialogues[:1], model)[:3] == (8 + 4, 8 + 4 + 7, 7)


def test_stages_are_planned_one_by_one(tmp_path: Path) -> None:
    create = Create(VISION, TEXT, vocab_size=300)
    stages = (
        Stage("see", objective="patches", steps=3, batch=2, learning_rate=1e-3, optimizer="muon"),
        Stage("say", objective="words", data={"traces": 1.0}, steps=4, batch=3, accumulate=2, learning_rate=1e-3),
    )
    see, say = plan(Recipe(ModelRecipe(create=create), stages, num_frames=2, frame_wh=(56, 56), precision="fp32"))
    model = anatomy_of_created(create)
    assert (see.name, see.steps, see.rows, see.row_tokens) == ("see", 3, 2, 4 * 4)  # four frames a clip, 2 x 2 each
    assert see.held["optimizer"] == 8 * model.vision.weights - 4 * model.vision.matrices
    assert (say.name, say.rows) == ("say", 6)
    assert say.held["optimizer"] == 8 * model.weights  # all of a created model is trained


def test_frames_that_the_model_cannot_see(qwen2_5: Path) -> None:
    with pytest.raises(SettingsError, match="frame_wh: \\[60, 56\\] are not multiples of 28"):
        plan(grpo(qwen2_5, frame_wh=(60, 56)))


# ---- what does not fit


def gpu_with(size: float) -> Gpu:
    return replace(GPUS["h100"], gb=size / 0.9e9)


def test_the_setting_that_makes_it_fit_is_named(qwen2_5: Path) -> None:
    long = {"prompts": 1, "max_new_tokens": 200}  # so that most memory is needed in the update
    for make in (partial(grpo, **long), sft):
        recipe = make(qwen2_5)
        check_fits(recipe, gpu_with(1.001 * plan(recipe)[0].peak))
        mended = plan(make(qwen2_5, gradient_checkpointing=True))[0].peak
        with pytest.raises(SettingsError, match=r"H100.*: set gradient_checkpointing: true$"):
            check_fits(recipe, gpu_with(1.001 * mended))
        with pytest.raises(SettingsError, match="take a smaller model, or a larger GPU"):
            check_fits(recipe, gpu_with(1.0))


def test_several_settings_are_named_only_if_one_does_not_do(qwen2_5: Path) -> None:
    recipe = grpo(qwen2_5, prompts=1, max_new_tokens=200)
    adapted = replace(recipe, model=ModelRecipe(name=str(qwen2_5), lora=Lora()))
    both = plan(replace(adapted, gradient_checkpointing=True))[0].peak
    with pytest.raises(SettingsError, match=r"set gradient_checkpointing: true and model.lora: {rank: 8}$"):
        check_fits(recipe, gpu_with(1.001 * both))
    with pytest.raises(SettingsError, match=r"set model.lora: {rank: 8}$"):
        check_fits(replace(recipe, gradient_checkpointing=True), gpu_with(1.001 * both))


def test_rollouts_that_do_not_fit_are_made_fewer_at_a_time(qwen2_5: Path) -> None:
    recipe = grpo(qwen2_5, prompts=4000, gradient_checkpointing=True)
    recipe = replace(recipe, tokens_at_once=10**9)
    fewer = plan(replace(recipe, tokens_at_once=20_000))[0].peak
    with pytest.raises(SettingsError, match="set tokens_at_once: 20_000"):
        check_fits(recipe, gpu_with(1.001 * fewer))


def test_every_recipe_that_ships_can_be_planned(qwen2_5: Path) -> None:
    reinforced = [path for path in sorted(RECIPES.glob("*.yaml")) if "stages:" not in path.read_text()]
    assert len(reinforced) >= 4
    for path in reinforced:
        assert "H200" in told(load(path, str(qwen2_5)))


# ---- the command


def test_the_command_needs_a_configuration_and_no_weights(
    qwen2_5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((qwen2_5 / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 29568}
    config["text_config"]["rope_parameters"]["mrope_section"] = [1024, 512, 512]
    config["text_config"].pop("layer_types", None)
    config["vision_config"]["out_hidden_size"] = 8192
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = ["train", "plan", str(RECIPES / "veason-3b.yaml"), "--model", str(tmp_path)]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    assert "625 steps of 16 prompts, 10,000 in all" in out
    assert "thousand million weights" in out
    assert err == ""
    assert cli.main([*arguments, "--gpu", "rtx4090"]) == 2
    assert "too large for RTX 4090: the run needs" in capsys.readouterr().err
