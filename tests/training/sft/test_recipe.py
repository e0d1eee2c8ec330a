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
        {
            "name": "sft",
            "objective": "causal_lm",
            "steps": 3,
            "batch_size": 2,
            "learning_rate": 1,
            "data": {"traces": 0.5},
        }
    ],
}


def load(path: Path, content: Any) -> Recipe:
    file = path / "recipe.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_recipe(file)


def changed(where: str, value: Any) -> dict[str, Any]:
    """The good recipe with one field replaced."""
    return with_field(GOOD, where, value)


def test_load_recipe_has_defaults(tmp_path: Path) -> None:
    stage = Stage(name="sft", objective="causal_lm", steps=3, batch_size=2, learning_rate=1.0, data={"traces": 0.5})
    assert load(tmp_path, GOOD) == Recipe(
        model=ModelRecipe(name="owner/model", lora=Lora(rank=4)),
        stages=(stage,),
        num_frames=4,
        frame_wh=(112, 84),
    )
    assert load(tmp_path, GOOD).view == View(4, (112, 84), label_unit="seconds")
    assert load(tmp_path, changed("closeup_wh", [224, 168])).view.closeup_wh == (224, 168)
    assert isinstance(load(tmp_path, GOOD).stages[0].learning_rate, float)


def test_load_recipe_with_created_model(tmp_path: Path) -> None:
    content = changed(
        "model", {"create": {"vision": {"depth": 1}, "text": {}, "tokenizer_clips": 7}, "name": None, "lora": None}
    )
    assert load(tmp_path, content).model == ModelRecipe(create=Create(vision={"depth": 1}, text={}, tokenizer_clips=7))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_load_recipe_reads_bundled_recipes(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.read_text().startswith("#")
    assert all(side % 28 == 0 for side in recipe.frame_wh)


def test_recipes_include_the_papers() -> None:
    assert {path.stem for path in RECIPES} >= {"shapes-sft", "veason-3b-sft", "veason-7b-sft"}


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_veason_sft_recipe_has_published_settings(size: str) -> None:
    recipe = load_recipe(RECIPES[0].parent / f"veason-{size}-sft.yaml")
    assert recipe.model.name == f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct"
    assert recipe.model.lora is not None
    assert (recipe.model.lora.rank, recipe.frame_wh, len(recipe.stages)) == (8, (560, 560), 1)
    stage = recipe.stages[0]
    assert (stage.learning_rate, stage.lr_scheduler_type, stage.gradient_accumulation_steps) == (1e-4, "cosine", 8)
    assert (stage.epochs, stage.batch_size, stage.resolved(5800, 8).steps) == (1, 1, 725)


@pytest.mark.parametrize(("epochs", "size", "steps"), [(1, 16, 2), (1, 17, 3), (0.5, 16, 1), (2, 3, 1)])
def test_resolved_epochs_become_steps_rounded_up(epochs: float, size: int, steps: int) -> None:
    stage = Stage(
        name="a", objective="causal_lm", epochs=float(epochs), batch_size=8, learning_rate=1.0, data={"cot": 1.0}
    )
    resolved = stage.resolved(size, 8)
    assert (resolved.num_steps, resolved.epochs) == (steps, None)
    assert resolved.resolved(100, 1) == resolved
    with pytest.raises(RuntimeError):
        _ = stage.num_steps


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("num_frames", "four", "num_frames: must be an integer; got 'four'"),
        ("num_frames", True, "num_frames: must be an integer; got True"),
        ("num_frames", None, "num_frames: must be an integer; got None"),
        ("num_frames", 0, "num_frames: must be greater than 0; got 0"),
        ("frame_wh", [112], "frame_wh.1: missing; add it"),
        ("frame_wh", [112, 112, 112], "frame_wh: has too many items; got [112, 112, 112]"),
        ("frame_wh", 112, "frame_wh: must be a list; got 112"),
        ("frame_wh", [112, 1.5], "frame_wh.1: must be an integer; got 1.5"),
        ("frame_wh", [112, -28], "frame_wh.1: must be greater than 0; got -28"),
        ("closeup_wh", [0, 28], "closeup_wh.0: must be greater than 0; got 0"),
        ("seed", -1, "seed: must be greater than or equal to 0; got -1"),
        ("seed", 2**32, "seed: must be less than 4294967296; got 4294967296"),
        ("precision", "fp8", "precision: must be 'auto', 'bf16' or 'fp32'; got 'fp8'"),
        ("colour", "red", "colour: unknown field; known fields are model, num_frames"),
        ("model", {}, "model: give either `create` or `name`"),
        ("model", "owner/model", "model: must be a mapping of fields; got 'owner/model'"),
        ("model", {"name": "a", "create": {"vision": {}, "text": {}}}, "model: give either `create` or `name`"),
        ("model", {"create": {"vision": {}}}, "model.create.text: missing; add it"),
        ("model", {"create": {"vision": 4, "text": {}}}, "model.create.vision: must be a mapping; got 4"),
        ("model", {"create": {"vision": {}, "text": {}}, "lora": {}}, "model: `lora` adapts a checkpoint"),
        ("model.name", 3, "model.name: must be a string; got 3"),
        ("model.train_vision", True, "model: `lora` adapts the language model only; drop `lora` or `train_vision`"),
        ("model.train_vision", "yes", "model.train_vision: must be true or false; got 'yes'"),
        ("model.lora.rank", 0, "model.lora.rank: must be greater than 0; got 0"),
        ("model.lora.dropout", 1, "model.lora.dropout: must be less than 1; got 1"),
        ("model.lora.dropout", "none", "model.lora.dropout: must be a number; got 'none'"),
        ("model.lora.depth", 3, "model.lora.depth: unknown field; known fields are rank, alpha, dropout"),
        ("clip_offset", -1, "clip_offset: must be greater than or equal to 0; got -1"),
        ("cot_set", "some/folder", "`cot_set` is required for the data `cot`, and only for it"),
        ("stages", [], "stages: must have at least one item"),
        ("stages", {"name": "sft"}, "stages: must be a list; got {'name': 'sft'}"),
        ("stages.0", "sft", "stages.0: must be a mapping of fields; got 'sft'"),
        ("stages.0", {"name": "sft"}, "stages.sft.learning_rate: missing; add it; stages.sft.objective: missing"),
        ("stages.0.name", "a/b", "stages.a/b.name: must be one word"),
        ("stages.0.name", "", "stages.0.name: must be one word"),
        ("stages.0.name", "a\nb", "stages.0.name: must be one word"),
        ("stages", [GOOD["stages"][0]] * 2, "stages: names must differ; got sft, sft"),
        ("stages.0.objective", "speech", "stages.sft.objective: must be 'vision_probe' or 'causal_lm'; got 'speech'"),
        ("stages.0.objective", "vision_probe", "stages.sft: `data` is required for causal_lm"),
        ("stages.0.data", {}, "stages.sft: `data` is required for causal_lm, e.g. {traces: 1.0}"),
        ("stages.0.data", ["traces"], "stages.sft.data: must be a mapping; got ['traces']"),
        ("stages.0.data", {"revos": 1.0}, "stages.sft.data.revos: must be 'traces', 'answers'"),
        ("stages.0.data.traces", 0, "stages.sft.data.traces: must be greater than 0; got 0"),
        ("stages.0.data.traces", "half", "stages.sft.data.traces: must be a number; got 'half'"),
        ("stages.0.data.traces", float("nan"), "stages.sft.data.traces: must be a finite number; got nan"),
        ("stages.0.data.traces", True, "stages.sft.data.traces: must be a number; got True"),
        ("stages.0.optimizer", "sgd", "stages.sft.optimizer: must be 'adamw' or 'muon'; got 'sgd'"),
        ("stages.0.lr_scheduler_type", "step", "stages.sft.lr_scheduler_type: must be 'cosine', 'linear', 'constant'"),
        *(
            (f"stages.0.{field}", 0, f"stages.sft.{field}: must be greater than 0; got 0")
            for field in (
                "steps",
                "batch_size",
                "gradient_accumulation_steps",
                "questions_per_clip",
                "save_steps",
                "learning_rate",
            )
        ),
        ("stages.0.epochs", 1, "stages.sft: give either `steps` or `epochs`"),
        ("stages.0.steps", None, "stages.sft: give either `steps` or `epochs`"),
        (
            "stages.0",
            {**GOOD["stages"][0], "steps": None, "epochs": 1},
            "stages.sft: `epochs` need data of a known size",
        ),
        ("stages.0.steps", 2.5, "stages.sft.steps: must be an integer; got 2.5"),
        ("stages.0.learning_rate", "fast", "stages.sft.learning_rate: must be a number; got 'fast'"),
        ("stages.0.learning_rate", float("nan"), "stages.sft.learning_rate: must be a finite number; got nan"),
        ("stages.0.max_grad_norm", -1, "stages.sft.max_grad_norm: must be greater than 0; got -1"),
        (
            "stages.0.category_weights",
            {"nothing": 0.5},
            "stages.sft.category_weights.nothing: must be one of referring, motion",
        ),
        (
            "stages.0.category_weights",
            {"none": -0.1},
            "stages.sft.category_weights.none: must be greater than or equal to 0; got -0.1",
        ),
        ("stages.0.noise_word_rate", 1.5, "stages.sft.noise_word_rate: must be less than or equal to 1; got 1.5"),
        ("stages.0.noise_word_rate", float("nan"), "stages.sft.noise_word_rate: must be a finite number; got nan"),
        *(
            (f"stages.0.{field}", -1, f"stages.sft.{field}: must be greater than or equal to 0; got -1")
            for field in ("warmup_steps", "weight_decay", "dataloader_num_workers")
        ),
    ],
)
def test_load_recipe_invalid_field_is_named(tmp_path: Path, where: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, changed(where, value))
    assert str(caught.value).startswith(f"{tmp_path / 'recipe.yaml'}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["num_frames", "frame_wh", "model", "stages"])
def test_load_recipe_missing_field_is_named(tmp_path: Path, field: str) -> None:
    content = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(SettingsError, match=f": {field}: missing; add it"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "must be a mapping of fields; got None"),
        ("- a\n- b", "must be a mapping of fields"),
        ("1: 2", "must be a string; got 1"),
        ("a: [1", "invalid YAML"),
        ("a: b: c", "invalid YAML"),
        ("!!python/object:os.system {}", "tag '!!python/object:os.system' is not supported"),
        ("\x00", "invalid YAML"),
    ],
)
def test_load_recipe_invalid_yaml_raises(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_load_recipe_unreadable_file_raises(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SettingsError, match=r"binary\.yaml: not a text file in UTF-8"):
        load_recipe(tmp_path / "binary.yaml")
