from pathlib import Path
from typing import Any

import pytest
import yaml

from recipefiles import with_field
from thinkseg.data.shapes import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.training import recipes as train_recipe
from thinkseg.training.grpo.recipe import GrpoRecipe, Source, load_grpo_recipe
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


def test_a_recipe_is_read_with_the_papers_defaults(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD)
    assert recipe == GrpoRecipe(
        model=ModelRecipe(name="owner/model", lora=Lora(rank=4)),
        data=(Source("revos", "some/folder"),),
        rewards={"boxes": 1, "keyframe": 0.5},
        steps=3,
        num_frames=4,
        frame_wh=(112, 84),
    )
    assert (recipe.prompts, recipe.rollouts, recipe.learning_rate, recipe.beta) == (16, 8, 1e-6, 5e-3)
    assert (recipe.weight_decay, recipe.max_grad_norm, recipe.temperature, recipe.schedule) == (0.01, 1, 1, "constant")
    assert recipe.view == View(4, (112, 84))


def test_the_tracker_may_be_a_folder_or_on_the_hub(tmp_path: Path) -> None:
    for tracker in ("flow", "facebook/sam2.1-hiera-large", str(tmp_path)):
        recipe = load(tmp_path, GOOD | {"tracker": tracker, "rewards": {"consistency": 1}})
        assert recipe.tracker == tracker


def test_a_tracker_that_no_reward_asks_for_need_not_be_there(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD | {"tracker": "anything"}).tracker == "anything"


def test_recipes_are_told_apart_by_their_names() -> None:
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
def test_recipes_that_ship_are_read(path: Path) -> None:
    recipe = load_grpo_recipe(path)
    assert path.stem in path.read_text()  # the command that repeats it
    assert recipe.max_new_tokens >= 256


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("steps", 0, "steps is at least 1"),
        ("rollouts", 1, "rollouts is at least 2"),
        ("beta", -0.1, "beta is at least 0"),
        ("temperature", 0, "temperature is above 0"),
        ("learning_rate", float("inf"), "learning_rate is above 0"),
        ("seed", -1, "seed"),
        ("chain", "veson", "chain: 'veson' is none of veason, revseg"),
        ("normalisation", "mean", "normalisation"),
        ("optimizer", "sgd", "optimizer"),
        ("schedule", "step", "schedule"),
        ("precision", "fp8", "precision"),
        ("tracker", "sam2", "flow"),
        ("rewards", {"box": 1}, "rewards: unknown reward 'box'"),
        ("rewards", {"boxes": 0}, "no reward has a weight > 0"),
        ("rewards.boxes", -1, "-1"),
        ("data.0.name", "revs", "no 'revs'"),
        ("data.0.root", None, "needs `root`"),
        ("data.0.offset", 3, "for shapes alone"),
        ("data.0.asked", {"none": 0.2}, "data: asked is for shapes alone"),
        ("data", [{"name": "shapes", "asked": {"nothing": 1}}], "data: asked: no category 'nothing'; there are"),
        (
            "data",
            [{"name": "shapes", "asked": dict.fromkeys(CATEGORIES, 0)}],
            "data: asked: some category needs a share",
        ),
        ("data", [], "one or more"),
        ("data", [{"name": "shapes"}, {"name": "shapes"}], "shapes alone"),
        ("model", {"create": {"vision": {}, "text": {}}}, "begins with a model that can answer"),
        ("model", {}, "either `create` or `name`"),
        ("frame_wh", [0, 28], "at least 1"),
        ("closeup_wh", [28, 0], "at least 1"),
        ("stages", [], "unknown field 'stages'"),
    ],
)
def test_a_bad_recipe_is_refused_by_name(tmp_path: Path, where: str, value: Any, message: str) -> None:
    content = changed(where, value)
    if where == "tracker":
        content["rewards"] = {"consistency": 1.0}
    with pytest.raises(SettingsError) as error:
        load(tmp_path, content)
    assert str(tmp_path / "recipe.yaml") in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_who_is_told_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, GOOD).report_to is None
    assert load(tmp_path, GOOD | {"report_to": ["tensorboard"]}).report_to == ("tensorboard",)
    assert load(tmp_path, GOOD | {"report_to": []}).report_to == ()
    with pytest.raises(SettingsError, match="report_to: 'newspaper' is none of tensorboard, wandb"):
        load(tmp_path, GOOD | {"report_to": ["newspaper"]})
    monkeypatch.setattr(train_recipe, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="report_to: wandb is not installed: pip install wandb"):
        load(tmp_path, GOOD | {"report_to": ["wandb"]})
