from pathlib import Path
from typing import Any

import pytest
import yaml

from recipefiles import with_field
from thinkseg.errors import SettingsError
from thinkseg.training.recipes import Create, Lora, ModelRecipe
from thinkseg.training.sft.recipe import Recipe, Stage, load_recipe
from thinkseg.types import View

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*-sft.yaml"))

GOOD: dict[str, Any] = {
    "num_frames": 4,
    "frame_wh": [112, 84],
    "model": {"name": "owner/model", "lora": {"rank": 4}},
    "stages": [
        {"name": "sft", "objective": "words", "steps": 3, "batch": 2, "learning_rate": 1, "data": {"traces": 0.5}}
    ],
}


def load(path: Path, content: Any) -> Recipe:
    file = path / "recipe.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_recipe(file)


def changed(where: str, value: Any) -> dict[str, Any]:
    """The good recipe with one field replaced."""
    return with_field(GOOD, where, value)


def test_a_recipe_is_read_with_its_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == Recipe(
        model=ModelRecipe(name="owner/model", lora=Lora(rank=4)),
        stages=(Stage("sft", "words", 3, 2, 1.0, {"traces": 0.5}),),
        num_frames=4,
        frame_wh=(112, 84),
    )
    assert load(tmp_path, GOOD).view == View(4, (112, 84))
    assert load(tmp_path, changed("closeup_wh", [224, 168])).view == View(4, (112, 84), closeup_wh=(224, 168))
    assert isinstance(load(tmp_path, GOOD).stages[0].learning_rate, float)


def test_a_recipe_may_create_its_model(tmp_path: Path) -> None:
    content = changed(
        "model", {"create": {"vision": {"depth": 1}, "text": {}, "corpus": 7}, "name": None, "lora": None}
    )
    assert load(tmp_path, content).model == ModelRecipe(create=Create({"depth": 1}, {}, corpus=7))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipes_that_ship_are_read(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.read_text().startswith("#")
    assert all(side % 28 == 0 for side in recipe.frame_wh)


def test_recipes_ship() -> None:
    assert {path.stem for path in RECIPES} >= {"shapes-sft", "veason-3b-sft", "veason-7b-sft"}


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_the_published_settings(size: str) -> None:
    recipe = load_recipe(RECIPES[0].parent / f"veason-{size}-sft.yaml")
    assert recipe.model.name == f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct"
    assert recipe.model.lora is not None
    assert (recipe.model.lora.rank, recipe.frame_wh, len(recipe.stages)) == (8, (560, 560), 1)
    stage = recipe.stages[0]
    assert (stage.learning_rate, stage.schedule, stage.accumulate) == (1e-4, "cosine", 8)
    assert stage.steps * stage.batch * stage.accumulate * stage.questions == 5800


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("num_frames", "four", "num_frames: expected int, not 'four'"),
        ("num_frames", True, "num_frames: expected int, not True"),
        ("num_frames", None, "num_frames: expected int, not None"),
        ("num_frames", 0, "num_frames, frame_wh and closeup_wh are at least 1"),
        ("frame_wh", [112], "frame_wh: expected 2 values, not 1"),
        ("frame_wh", 112, "frame_wh: expected a list, not 112"),
        ("frame_wh", [112, 1.5], r"frame_wh\[1\]: expected int, not 1.5"),
        ("closeup_wh", [0, 28], "num_frames, frame_wh and closeup_wh are at least 1"),
        ("closeup_wh", [112], "closeup_wh: expected 2 values, not 1"),
        ("closeup_wh", 112, "closeup_wh: expected a list, not 112"),
        ("frame_wh", [112, -28], "num_frames, frame_wh and closeup_wh are at least 1"),
        ("seed", -1, "seed: -1"),
        ("precision", "fp8", "precision: 'fp8' is none of auto, bf16, fp32"),
        ("colour", "red", "unknown field 'colour'; known are model, stages"),
        ("model", {}, "model: give either `create` or `name`"),
        ("model", "owner/model", "model: expected the fields create, name"),
        ("model", {"name": "a", "create": {"vision": {}, "text": {}}}, "model: give either `create` or `name`"),
        ("model", {"create": {"vision": {}}}, "model: create: the field 'text' is missing"),
        ("model", {"create": {"vision": 4, "text": {}}}, "model: create: vision: expected names with values, not 4"),
        ("model", {"create": {"vision": {}, "text": {}}, "lora": {}}, "model.lora: a created model"),
        ("model.name", 3, "model: name: expected str, not 3"),
        ("model.train_vision", True, "model.train_vision: `lora` adapts the language model alone"),
        ("model.train_vision", "yes please", "model: train_vision: expected bool, not 'yes please'"),
        ("model.lora.rank", 0, "model.lora: rank and alpha are at least 1"),
        ("model.lora.dropout", 1, "model.lora: rank and alpha are at least 1, dropout"),
        ("model.lora.dropout", "none", "model: lora: dropout: expected a number, not 'none'"),
        ("model.lora.depth", 3, "model: lora: unknown field 'depth'"),
        ("first_clip", -1, "first_clip: -1 is below 0"),
        ("stages", [], "stages: at least one is needed"),
        ("stages", {"name": "sft"}, "stages: expected a list"),
        ("stages.0", "sft", r"stages\[0\]: expected the fields name, objective"),
        ("stages.0", {"name": "sft"}, r"stages\[0\]: the field 'objective' is missing"),
        ("stages.0.name", "a/b", "stage 'a/b': a name is one word"),
        ("stages.0.name", "", "stage '': a name is one word"),
        ("stages", [GOOD["stages"][0]] * 2, "stage 'sft': a name is one word, and no other stage's"),
        ("stages.0.objective", "pictures", "stage 'sft': objective 'pictures' is none of patches, words"),
        ("stages.0.objective", "patches", "stage 'sft': data: needed for words, .* and for nothing else"),
        ("stages.0.data", {}, "stage 'sft': data: needed for words"),
        ("stages.0.data", ["traces"], r"stages\[0\]: data: expected names with values"),
        ("stages.0.data.traces", 0, "stage 'sft': data: the share of traces is 0"),
        ("stages.0.data.traces", "half", "stage 'sft': data: the share of traces is 'half'"),
        ("stages.0.data.traces", float("nan"), "stage 'sft': data: the share of traces is nan"),
        ("stages.0.data.traces", True, "stage 'sft': data: the share of traces is True"),
        ("stages.0.optimizer", "sgd", "stage 'sft': optimizer 'sgd' is none of adamw, muon"),
        ("stages.0.schedule", "cosinus", "stage 'sft': schedule 'cosinus' is none of cosine, linear"),
        *(
            (f"stages.0.{field}", 0, f"stage 'sft': .*{field}.* are at least 1")
            for field in ("steps", "batch", "accumulate", "questions", "save_every")
        ),
        ("stages.0.steps", 2.5, r"stages\[0\]: steps: expected int, not 2.5"),
        ("stages.0.learning_rate", 0, "stage 'sft': learning_rate and max_grad_norm are above 0"),
        ("stages.0.learning_rate", "1e-4", r"learning_rate: expected a number, not '1e-4'; YAML takes 1.0e-4"),
        ("stages.0.learning_rate", float("nan"), "learning_rate and max_grad_norm are above 0"),
        ("stages.0.max_grad_norm", -1, "learning_rate and max_grad_norm are above 0"),
        ("stages.0.asked", {"nothing": 0.5}, "stage 'sft': asked: no category 'nothing'; there are referring, motion"),
        ("stages.0.strays", 1.5, "stage 'sft': strays: 1.5 is not a share, from 0 to 1"),
        ("stages.0.strays", float("nan"), "stage 'sft': strays: nan is not a share"),
        ("stages.0.asked", {"none": -0.1}, "stage 'sft': asked: the share of none is -0.1, not a number from 0 on"),
        ("stages.0.warmup", -1, "warmup, weight_decay and workers are at least 0"),
        ("stages.0.weight_decay", -1, "warmup, weight_decay and workers are at least 0"),
        ("stages.0.workers", -1, "warmup, weight_decay and workers are at least 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, where: str, value: Any, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, changed(where, value))
    assert str(caught.value).startswith(str(tmp_path / "recipe.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["num_frames", "frame_wh", "model", "stages"])
def test_what_is_missing_is_named(tmp_path: Path, field: str) -> None:
    content = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(SettingsError, match=f"the field '{field}' is missing"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "expected the fields model, stages"),
        ("- a\n- b", "expected the fields model, stages"),
        ("a: [1", "not YAML"),
        ("a: b: c", "not YAML"),
        ("!!python/object:os.system {}", "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SettingsError, match=r"binary\.yaml: not a text file in UTF-8"):
        load_recipe(tmp_path / "binary.yaml")
