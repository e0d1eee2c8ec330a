from pathlib import Path
from typing import Any

import pytest
import yaml

from recipefiles import with_field
from thinkseg.chains import CHAINS
from thinkseg.data.shapes import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.training import recipes as train_recipe
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, load_grpo_recipe
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.types import View

RECIPES = sorted(set((Path(__file__).parents[3] / "recipes").glob("*.yaml")))
GRPO = [path for path in RECIPES if "rewards:" in path.read_text()]

GOOD: dict[str, Any] = {
    "model": {"name": "owner/model", "lora": {"rank": 4}},
    "data": [{"name": "revos", "root": "some/folder"}],
    "rewards": {"boxes": 1, "keyframe": 0.5},
    "steps": 3,
    "num_frames": 4,
    "frame_wh": [112, 84],
}


def load(path: Path, content: Any) -> GrpoRecipe:
    file = path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_grpo_recipe(file)


def changed(where: str, value: Any) -> dict[str, Any]:
    """The good recipe with one field replaced."""
    return with_field(GOOD, where, value)


def test_load_grpo_recipe_has_the_papers_defaults(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert recipe == GrpoRecipe(
        model=ModelRecipe(name="owner/model", lora=Lora(rank=4)),
        data=(PromptSource(name="revos", root="some/folder"),),
        rewards={"boxes": 1, "keyframe": 0.5},
        steps=3,
        num_frames=4,
        frame_wh=(112, 84),
    )
    assert (recipe.prompts_per_step, recipe.num_generations, recipe.learning_rate, recipe.beta) == (16, 8, 1e-6, 5e-3)
    assert (recipe.weight_decay, recipe.max_grad_norm, recipe.temperature, recipe.lr_scheduler_type) == (
        0.01,
        1,
        1,
        "constant",
    )
    assert recipe.view == View(4, (112, 84), label_unit="seconds")


def test_load_grpo_recipe_takes_trackers_of_folders_and_hub(tmp_path: Path) -> None:
    for tracker in ("flow", "facebook/sam2.1-hiera-large", str(tmp_path)):
        recipe = load(tmp_path, GOOD | {"tracker": tracker, "rewards": {"consistency": 1}})
        assert recipe.tracker == tracker


def test_load_grpo_recipe_epochs_of_shapes_raise(tmp_path: Path) -> None:
    endless = {"steps": None, "epochs": 1.0, "data": [{"name": "shapes"}]}
    with pytest.raises(SettingsError, match="`epochs` need data of a known size, and shapes have none; give `steps`"):
        load(tmp_path, GOOD | endless)
    assert load(tmp_path, GOOD | {"steps": None, "epochs": 0.5}).resolved(100, 16).steps == 4


def test_load_grpo_recipe_prompts_are_of_the_view(tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text('veason: {prompt: "{frames}{query}"}')
    assert load(tmp_path, GOOD | {"prompts": str(file)}).view.wording.veason.prompt == "{frames}{query}"
    file.write_text('veason: {prompt: "{frames}"}')
    with pytest.raises(SettingsError, match=r"recipe.yaml: prompts: .*prompts.yaml: veason: prompt: has no \{query\}"):
        load(tmp_path, GOOD | {"prompts": str(file)})


def test_load_grpo_recipe_chain_without_indices_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAINS, "fixed", lambda sample, view: None)
    with pytest.raises(SettingsError, match="chain: 'fixed' lacks the parameter `indices`, the frames to show; add it"):
        load(tmp_path, GOOD | {"chain": "fixed"})


def test_load_grpo_recipe_unused_tracker_is_not_checked(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD | {"tracker": "anything"}).tracker == "anything"


VLLM: dict[str, Any] = {"engine": "vllm", "servers": ["http://127.0.0.1:8000"], "sync": "adapter"}


def test_load_grpo_recipe_servers_are_no_part_of_identity(tmp_path: Path) -> None:
    """A run may resume with servers at other addresses."""
    one = load(tmp_path, GOOD | {"rollout": VLLM})
    other = load(tmp_path, GOOD | {"rollout": VLLM | {"servers": ["http://node-2:9000"], "sync_dir": "/dev/shm/run"}})
    assert one.model_dump_json() == other.model_dump_json()
    assert one.model_dump()["rollout"] == {"engine": "vllm", "sync": "adapter", "importance_cap": 2.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"servers": []}, "rollout: the engine vllm needs `servers` and `sync`"),
        ({"engine": "local"}, "rollout: `servers`, `sync` and `sync_dir` are for `engine: vllm`; add that, or drop"),
        ({"sync": "weights"}, "rollout: `sync: adapter` is for models with `lora`"),
        ({"servers": ["127.0.0.1:8000"]}, "rollout.servers.0: must be a URL such as http://127.0.0.1:8000"),
        ({"servers": ["http://host:8000/v1"]}, "rollout.servers.0: must be a URL such as http://127.0.0.1:8000"),
    ],
)
def test_load_grpo_recipe_invalid_rollout_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, GOOD | {"rollout": VLLM | changes})


def test_grpo_recipes_are_those_with_rewards() -> None:
    assert {path.name for path in GRPO} == {
        "revseg-7b.yaml",
        "shapes-quick-revseg.yaml",
        "shapes-quick.yaml",
        "shapes-revseg.yaml",
        "shapes-veason.yaml",
        "veason-3b.yaml",
        "veason-7b.yaml",
    }


@pytest.mark.parametrize("path", GRPO, ids=lambda path: path.name)
def test_load_grpo_recipe_reads_bundled_recipes(path: Path) -> None:
    recipe = load_grpo_recipe(path)
    assert path.stem in path.read_text()  # the command that repeats it
    assert recipe.max_new_tokens >= 256


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("steps", 0, "steps: must be greater than 0; got 0"),
        ("epochs", 1, "give either `steps` or `epochs`"),
        ("num_generations", 1, "num_generations: must be greater than or equal to 2; got 1"),
        ("beta", -0.1, "beta: must be greater than or equal to 0; got -0.1"),
        ("temperature", 0, "temperature: must be greater than or equal to 0.001; got 0"),
        ("learning_rate", float("inf"), "learning_rate: must be a finite number; got inf"),
        ("seed", -1, "seed: must be greater than or equal to 0; got -1"),
        ("chain", "veson", "chain: unknown chain 'veson'; must be one of revseg, veason"),
        ("loss_type", "mean", "loss_type: must be 'grpo', 'dr_grpo' or 'dapo'; got 'mean'"),
        ("optimizer", "sgd", "optimizer: must be 'adamw' or 'muon'; got 'sgd'"),
        ("lr_scheduler_type", "step", "lr_scheduler_type: must be 'cosine', 'linear'"),
        ("precision", "fp8", "precision: must be 'auto', 'bf16' or 'fp32'; got 'fp8'"),
        ("tracker", "sam2", "tracker: unknown tracker 'sam2'"),
        ("rewards", {"box": 1}, "rewards: unknown reward 'box'"),
        ("rewards", {"boxes": 0}, "rewards: no reward has a weight > 0"),
        ("rewards.boxes", -1, "rewards.boxes: must be greater than or equal to 0; got -1"),
        ("data.0.name", "revs", "data.revs.name: must be one of shapes, revos"),
        ("data.0.root", None, "data.revos: `root` is required"),
        ("data.0.clip_offset", 3, "data.revos: `clip_offset` and `category_weights` are for shapes only"),
        ("data.0.category_weights", {"none": 0.2}, "data.revos: `clip_offset` and `category_weights` are for shapes"),
        (
            "data",
            [{"name": "shapes", "category_weights": {"nothing": 1}}],
            "data.shapes.category_weights.nothing: must be one of referring",
        ),
        (
            "data",
            [{"name": "shapes", "category_weights": dict.fromkeys(CATEGORIES, 0)}],
            "data.shapes.category_weights: must leave at least one category with a weight above 0",
        ),
        ("data", [], "data: give one or more benchmarks, or only shapes"),
        ("data", [{"name": "shapes"}, {"name": "shapes"}], "data: give one or more benchmarks, or only shapes"),
        ("model", {"create": {"vision": {}, "text": {}}}, "model: GRPO starts from a trained policy"),
        ("model", {}, "model: give either `create` or `name`"),
        ("frame_wh", [0, 28], "frame_wh.0: must be greater than 0; got 0"),
        ("closeup_wh", [28, 0], "closeup_wh.1: must be greater than 0; got 0"),
        ("stages", [], "stages: unknown field"),
    ],
)
def test_load_grpo_recipe_invalid_field_is_named(tmp_path: Path, where: str, value: Any, message: str) -> None:
    content = changed(where, value)
    if where == "tracker":
        content["rewards"] = {"consistency": 1.0}
    with pytest.raises(SettingsError) as error:
        load(tmp_path, content)
    assert str(error.value).startswith(f"{tmp_path / 'recipe.yaml'}: {message}")
    assert "\n" not in str(error.value)


def test_load_grpo_recipe_report_to_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, GOOD).report_to is None
    assert load(tmp_path, GOOD | {"report_to": ["tensorboard"]}).report_to == ("tensorboard",)
    assert load(tmp_path, GOOD | {"report_to": []}).report_to == ()
    with pytest.raises(SettingsError, match=r"report_to\.0: must be 'tensorboard', 'wandb'"):
        load(tmp_path, GOOD | {"report_to": ["newspaper"]})
    monkeypatch.setattr(train_recipe, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"report_to\.0: wandb is not installed; run `pip install wandb`"):
        load(tmp_path, GOOD | {"report_to": ["wandb"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sharding": "half"}, "sharding: must be 'none' or 'full'"),
        ({"cpu_offload": True}, "`cpu_offload` is for sharded parameters; set `sharding: full`, or drop it"),
        ({"sharding": "full", "optimizer": "muon"}, "`optimizer: muon` needs whole matrices; use adamw, or drop"),
    ],
)
def test_load_grpo_recipe_invalid_sharding_raises(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, GOOD | changes)
    assert message in str(caught.value)


def test_recipe_default_sharding_is_not_recorded(tmp_path: Path) -> None:
    """Runs that started before these fields existed can resume."""
    assert not {"sharding", "cpu_offload"} & load(tmp_path, GOOD).model_dump().keys()
    assert load(tmp_path, GOOD | {"sharding": "full"}).model_dump()["sharding"] == "full"
