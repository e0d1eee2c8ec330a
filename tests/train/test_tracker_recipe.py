import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from thinkseg.errors import SettingsError
from thinkseg.train.tracker_recipe import Sizes, load_tracker_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "shapes-sam2.yaml"

STAGE: dict[str, Any] = {"name": "draw", "frames": 1, "steps": 2, "batch": 2, "learning_rate": 1e-3}
GOOD: dict[str, Any] = {"create": {}, "stages": [STAGE]}


def load(tmp_path: Path, content: Any) -> Any:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_tracker_recipe(path)


def test_the_recipe_that_ships_is_read() -> None:
    recipe = load_tracker_recipe(RECIPE)
    assert recipe.create == Sizes()
    assert [stage.frames for stage in recipe.stages] == [1, 4]


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("create.side", 250, "create: side is a multiple of 32, and channels of 64, from 128 on"),
        ("create.channels", 64, "channels of 64, from 128 on"),
        ("create.blocks", [1, 1, 1, 1], "the third of blocks is at least 2"),
        ("create.blocks", [1, 1, 2], "create: blocks: expected 4 values, not 3"),
        ("create.width", 20, "width is a multiple of 8"),
        ("create.memory_layers", 0, "memory_layers and blocks are at least 1"),
        ("create.depth", 3, "create: unknown field 'depth'"),
        ("stages", [], "stages: at least one is needed"),
        ("stages", [STAGE, STAGE], "stage 'draw': a name is one word, and no other stage's"),
        ("stages.0.name", "a/b", "stage 'a/b': a name is one word"),
        ("stages.0.frames", 0, "stage 'draw': frames, steps, batch and save_every are at least 1"),
        ("stages.0.schedule", "step", "stage 'draw': schedule 'step' is none of cosine, linear"),
        ("stages.0.learning_rate", 0.0, "stage 'draw': learning_rate and max_grad_norm are above 0"),
        ("stages.0.warmup", -1.0, "stage 'draw': warmup, weight_decay and workers are at least 0"),
        ("seed", -1, "seed is in 0.."),
        ("first_clip", -1, "first_clip at least 0"),
        ("precision", "fp8", "precision: 'fp8' is none of auto, bf16, fp32"),
        ("report_to", ["paper"], "report_to: 'paper' is none of tensorboard"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, where: str, value: Any, complaint: str) -> None:
    content: Any = copy.deepcopy(GOOD)
    place = content
    *parents, last = (int(key) if key.isdigit() else key for key in where.split("."))
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, content)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
