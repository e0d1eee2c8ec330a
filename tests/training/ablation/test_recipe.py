"""The file of an ablation, and those that ship."""

from pathlib import Path
from typing import Any

import pytest

import layouts
from ablations import BUNDLED, bundled, one_run, three_rows, written
from thinkseg.errors import SettingsError
from thinkseg.training.ablation.recipe import ScoredData, load_ablation, recipe_of
from thinkseg.training.grpo.recipe import GrpoRecipe


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_load_ablation_bundled_files(path: Path) -> None:
    assert f"thinkseg ablate recipes/ablations/{path.name}" in path.read_text()
    # The paper's table of joint training has three rows.
    assert len(load_ablation(path).rows) >= (3 if path.stem.endswith("-joint") else 4)


@pytest.mark.parametrize("name", ["shapes-training", "veason-training"])
def test_training_table_rows_end_with_named_method(name: str) -> None:
    ends = {row.name: row.runs[-1].method for row in load_ablation(bundled(name)).rows if row.runs}
    assert {row for row, method in ends.items() if method == "grpo"} == {"grpo", "sft-grpo", "cot-sft-grpo"}


@pytest.mark.parametrize("name", ["shapes-joint", "veason-joint"])
def test_joint_table_rows_all_end_with_grpo(name: str) -> None:
    path = bundled(name)
    ablation = load_ablation(path)
    recipes = {row.name: recipe_of(ablation, row.runs[-1], path, "x") for row in ablation.rows}
    ends = {name: recipe.rewards for name, recipe in recipes.items() if isinstance(recipe, GrpoRecipe)}
    assert ends["grounding-only"] == {**ends["joint"], "keyframe": 0.0, "keyframe_first": 1.0}
    assert ends["keyframe-only"] == ends["joint"]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("shapes-revseg-frames", [(4, None), (3, None), (4, None), (5, None)]),
        ("revseg-frames", [(16, 16), (12, 12), (20, 20), (16, 12), (16, 20)]),
    ],
)
def test_frames_table_rows_are_trained_and_scored_with_their_numbers(name: str, numbers: list[Any]) -> None:
    path = bundled(name)
    ablation = load_ablation(path)
    trained = [recipe_of(ablation, row.runs[-1], path, "x").num_frames for row in ablation.rows]
    assert list(zip(trained, [row.num_frames or ablation.num_frames for row in ablation.rows], strict=True)) == numbers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": []}, "rows: must have at least one item"),
        ({"rows": [{"name": "a", "title": "a"}] * 2}, "rows: names must differ; got a, a"),
        ({"rows": [{"name": "../a", "title": "a"}]}, "rows.../a.name: must be one word"),
        ({"chain": "veson"}, "chain: unknown chain 'veson'; must be one of revseg, veason"),
        ({"rows": [{"name": "a", "title": "a", "chain": "two"}]}, "rows.a.chain: unknown chain 'two'"),
        ({"data": {"name": "refos", "root": "x"}}, "data.name: must be one of shapes, revos, .*; got 'refos'"),
        ({"data": {"name": "shapes", "limit": 0}}, "data.limit: must be greater than 0; got 0"),
        ({"data": {"name": "shapes", "category_weights": {"moton": 1}}}, "data.category_weights.moton: must be one of"),
        ({"data": {"name": "revos"}}, "data: `root` is required"),
        ({"data": {"name": "refdavis", "root": "x", "limit": 9}}, "data: `limit`: the objects of a video are scored"),
        ({"rows": [{"name": "a", "title": "a", "paper": [1, 2]}]}, "rows.a.paper: must have one value per column"),
        ({"overrides": {"dpo": {}}}, "overrides.dpo: must be 'sft' or 'grpo'"),
        ({"overrides": {"grpo": {"stepz": 1}}} | {"rows": three_rows("shapes")}, "grpo.yaml: stepz: unknown field"),
        (one_run(method="dpo", recipe="grpo.yaml"), "rows.a.runs.0.method: must be 'sft' or 'grpo'; got 'dpo'"),
        (one_run(method="sft", recipe="none.yaml"), "none.yaml: cannot be read"),
        (one_run(method="grpo", recipe="grpo.yaml", overrides={"b": 1}), "grpo.yaml: b: unknown field"),
        (one_run(method="grpo", recipe="grpo.yaml", overrides={"rollouts": 1}), "rollouts: renamed to num_generations"),
        (
            one_run(method="sft", recipe="sft.yaml", overrides={"stages": {"see": {"steps": 2}}}),
            "sft.yaml: overrides: unknown name 'see': must be one of a",
        ),
    ],
)
def test_load_ablation_invalid_file_raises(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_ablation(written(tmp_path, **{"rows": [{"name": "a", "title": "a"}], **changes}))


def test_load_ablation_overrides_replace_fields_of_table_and_recipes(tmp_path: Path) -> None:
    path = written(tmp_path, three_rows("shapes"))
    changes = {"data": {"limit": 1}, "rows": {"tuned": {"num_frames": 3}}}, {"overrides": {"grpo": {"steps": 7}}}
    ablation = load_ablation(path, *changes)
    assert (ablation.data.limit, ablation.rows[1].num_frames) == (1, 3)
    assert recipe_of(ablation, ablation.rows[2].runs[1], path, "x").num_steps == 7


def test_scored_data_limit_is_evenly_spaced(tmp_path: Path) -> None:
    layouts.revos(tmp_path)
    data = ScoredData(name="revos", root=str(tmp_path))
    every = data.open()
    half = data.model_copy(update={"limit": 2}).open()
    assert [one.key for one in half.expressions] == [one.key for one in every.expressions][::2]
    assert len(data.model_copy(update={"limit": 9}).open().expressions) == 4
    assert half.run_settings() != every.run_settings()
