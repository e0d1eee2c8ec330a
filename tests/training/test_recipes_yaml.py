import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from thinkseg.errors import SettingsError
from thinkseg.storage.settings_file import RENAMED, Settings, assigned, merged, read_yaml
from thinkseg.training.ablation.recipe import Ablation, Training, Variant
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.recipes import Create
from thinkseg.training.sft.recipe import DataKind, Recipe, Stage

STAGES = [{"name": "see", "steps": 3}, {"name": "say", "steps": 4, "data": {"lists": 1.0}}]


@pytest.mark.parametrize(
    ("content", "overrides", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": None}}, {"a": {"b": 1}}),
        ({"a": 1}, {"b": {"c": None, "d": 2}}, {"a": 1, "b": {"c": None, "d": 2}}),
        ({"a": None}, {"b": 1}, {"a": None, "b": 1}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ([{"name": {}}], {"see": {"steps": 5}}, {"see": {"steps": 5}}),
        ({"stages": STAGES}, {"stages": []}, {"stages": []}),
        ({"stages": STAGES}, {"stages": {"say": None}}, {"stages": STAGES[:1]}),
        (STAGES, {"see": {"steps": 5}}, [{"name": "see", "steps": 5}, STAGES[1]]),
        (STAGES, {"say": {"data": {"lists": None, "traces": 2.0}}}, [STAGES[0], STAGES[1] | {"data": {"traces": 2.0}}]),
    ],
)
def test_merged_overrides_values_and_items_by_name(content: Any, overrides: Any, result: Any) -> None:
    assert merged(content, overrides) == result


def test_merged_unknown_name_raises() -> None:
    with pytest.raises(SettingsError, match="overrides: unknown name 'sya': must be one of see, say"):
        merged({"stages": STAGES}, {"stages": {"sya": None}})


def test_read_yaml_overrides_have_effect_one_after_another(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump(STAGE))
    assert read_yaml(Stage, file, {"steps": None}, {"epochs": 2.0}).epochs == 2


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a.c=[x, 2.0]", {"a": {"c": ["x", 2.0]}}),
        ("name=owner/model=x", {"name": "owner/model=x"}),
        ("a=", {"a": None}),
    ],
)
def test_assigned_text_becomes_overrides(text: str, overrides: Any) -> None:
    assert assigned(text) == overrides


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".a=1", "a." * 30 + "b=1"])
def test_assigned_other_text_raises(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--set: '.+' is not FIELD=VALUE"):
        assigned(text)


def test_assigned_invalid_yaml_raises() -> None:
    with pytest.raises(SettingsError, match="--set a: line 1: invalid YAML"):
        assigned("a=[1")


# ---- messages


def message_of(folder: Path, kind: type[Settings], content: Any) -> str:
    file = folder / "file.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError) as caught:
        read_yaml(kind, file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


STAGE = {"name": "say", "objective": "causal_lm", "steps": 3, "batch_size": 2, "learning_rate": 1, "data": {"cot": 1}}


def test_read_yaml_several_errors_reports_all(tmp_path: Path) -> None:
    content = STAGE | {"learning_rate": -1, "steps": 0, "optimizer": "sgd"}
    assert message_of(tmp_path, Stage, content) == (
        "steps: must be greater than 0; got 0; learning_rate: must be greater than 0; got -1; "
        "optimizer: must be 'adamw' or 'muon'; got 'sgd'"
    )


def test_read_yaml_more_than_five_errors_counts_the_rest(tmp_path: Path) -> None:
    content = {"name": "say", "objective": "causal_lm"} | dict.fromkeys("abcdef", 1)
    message = message_of(tmp_path, Stage, content)
    assert message.count(": unknown field;") == 5
    assert message.endswith("; and 3 more")


def test_read_yaml_error_in_stage_names_the_stage(tmp_path: Path) -> None:
    recipe = {"model": {"name": "x"}, "num_frames": 2, "frame_wh": [28, 28]}
    assert message_of(tmp_path, Recipe, recipe | {"stages": [STAGE | {"steps": 0}], "cot_set": "x"}) == (
        "stages.say.steps: must be greater than 0; got 0"
    )
    unnamed = {key: value for key, value in STAGE.items() if key != "name"}
    assert message_of(tmp_path, Recipe, recipe | {"stages": [unnamed]}) == "stages.0.name: missing; add it"


def test_read_yaml_unknown_field_names_known_fields_and_closest(tmp_path: Path) -> None:
    assert message_of(tmp_path, PromptSource, {"name": "shapes", "splitt": "val"}) == (
        "splitt: unknown field; did you mean split? Known fields are name, root, split, select, fps, clip_offset,"
        " category_weights"
    )
    assert message_of(tmp_path, PromptSource, {"name": "shapes", "zzz": 1}) == (
        "zzz: unknown field; known fields are name, root, split, select, fps, clip_offset, category_weights"
    )


@pytest.mark.parametrize(("text", "number"), [("1e-4", 1e-4), ("2E3", 2000.0), ("1.5e4", 15000.0), ("3", 3.0)])
def test_read_yaml_number_may_have_an_exponent(tmp_path: Path, text: str, number: float) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in STAGE.items() if k != "learning_rate"}) + f"learning_rate: {text}")
    assert read_yaml(Stage, file).learning_rate == number


def test_read_yaml_long_value_is_shortened(tmp_path: Path) -> None:
    assert len(message_of(tmp_path, Stage, STAGE | {"steps": "x" * 10_000})) < 100


# ---- renamed fields and values

MODELS = (Ablation, Create, GrpoRecipe, PromptSource, Recipe, Stage, Training, Variant)
FIELDS = [(old, model) for old, new in RENAMED.items() for model in MODELS if new in model.model_fields]
OBJECTIVES = {"patches": "vision_probe", "words": "causal_lm"}
KINDS = {old: new for old, new in RENAMED.items() if new in get_args(DataKind)}


@pytest.mark.parametrize(("old", "model"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_read_yaml_old_field_names_the_new_one(tmp_path: Path, old: str, model: type[Settings]) -> None:
    message = message_of(tmp_path, model, {old: 1})
    assert f"{old}: renamed to {RENAMED[old]}" in message
    assert f"{RENAMED[old]}: missing" not in message


@pytest.mark.parametrize("old", OBJECTIVES)
def test_read_yaml_old_objective_names_the_new_one(tmp_path: Path, old: str) -> None:
    assert message_of(tmp_path, Stage, STAGE | {"objective": old}) == f"objective: renamed to {OBJECTIVES[old]}"


@pytest.mark.parametrize("old", KINDS)
def test_read_yaml_old_data_kind_names_the_new_one(tmp_path: Path, old: str) -> None:
    assert message_of(tmp_path, Stage, STAGE | {"data": {old: 1.0}}) == f"data.{old}: renamed to {KINDS[old]}"


def test_every_rename_is_of_a_field_or_a_value() -> None:
    assert RENAMED.keys() == {old for old, _ in FIELDS} | OBJECTIVES.keys() | KINDS.keys()
    assert not {new for new in RENAMED.values() if new in RENAMED}


def test_read_yaml_old_field_in_stage_has_its_path(tmp_path: Path) -> None:
    recipe = {"model": {"name": "x"}, "num_frames": 2, "frame_wh": [28, 28], "stages": [STAGE | {"batch": 4}]}
    assert re.search(r"^stages\.say\.batch: renamed to batch_size", message_of(tmp_path, Recipe, recipe))
