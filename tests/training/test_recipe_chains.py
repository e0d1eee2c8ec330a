"""The recipes of a paper that follow one another agree on what the policy is shown and asked."""

from pathlib import Path

import pytest

from ablations import BUNDLED
from thinkseg.training.ablation.recipe import load_ablation, recipes_of
from thinkseg.training.grpo.recipe import load_grpo_recipe
from thinkseg.training.sft.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SAM2 = "facebook/sam2.1-hiera-large"


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_veason_chain_recipes_agree(size: str) -> None:
    sft, grpo = load_recipe(RECIPES / f"veason-{size}-sft.yaml"), load_grpo_recipe(RECIPES / f"veason-{size}.yaml")
    assert sft.view == grpo.view
    assert grpo.model.name == f"runs/veason-{size}-sft/model"
    assert (sft.stages[0].data, sft.stages[0].epochs, grpo.chain) == ({"cot": 1.0}, 1, "veason")
    frames = f"--frames {sft.num_frames} --frame-size {sft.frame_wh[0]}x{sft.frame_wh[1]}"
    assert frames in (RECIPES / f"veason-{size}-sft.yaml").read_text()


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_veason_grpo_recipe_has_published_settings(size: str) -> None:
    recipe = load_grpo_recipe(RECIPES / f"veason-{size}.yaml")
    assert (recipe.prompts_per_step, recipe.num_generations, recipe.steps) == (16, 8, 625)
    assert (recipe.learning_rate, recipe.beta, recipe.weight_decay, recipe.temperature) == (1e-6, 5e-3, 0.01, 1.0)
    assert recipe.rewards == dict.fromkeys(("format", "keyframe", "boxes", "consistency"), 1.0)
    assert (recipe.tracker, recipe.model.train_vision) == (SAM2, True)


def test_revseg_recipe_has_published_settings() -> None:
    recipe = load_grpo_recipe(RECIPES / "revseg-7b.yaml")
    assert (recipe.num_frames, recipe.frame_wh, recipe.closeup_wh) == (16, (448, 448), (840, 840))
    assert (recipe.chain, recipe.prompts_per_step, recipe.num_generations) == ("revseg", 128, 8)
    assert (recipe.learning_rate, recipe.beta, recipe.epochs, recipe.model.lora) == (1e-6, 1e-3, 1, None)
    assert recipe.model.name == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_paper_recipes_never_track_with_flow() -> None:
    papers = [path for path in RECIPES.glob("*.yaml") if not path.name.startswith("shapes")]
    assert papers
    assert not [path.name for path in papers if "tracker: flow" in path.read_text()]


@pytest.mark.parametrize("path", [path for path in BUNDLED if "shapes" not in path.stem], ids=lambda path: path.stem)
def test_paper_tables_score_as_their_recipes_train(path: Path) -> None:
    table = load_ablation(path)
    recipes = [recipe for row in table.rows if not row.num_frames for recipe in recipes_of(table, row, path)]
    shown = {(recipe.num_frames, recipe.frame_wh, recipe.closeup_wh) for recipe in recipes}
    assert table.tracker == SAM2
    # Veason-R1 shows no frame again.
    assert shown == {(table.num_frames, table.frame_wh, table.closeup_wh)}
