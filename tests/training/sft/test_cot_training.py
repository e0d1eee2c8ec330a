"""Training on a chain-of-thought set."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recipefiles import changed_recipe
from thinkseg.annotation.annotators import RuleAnnotator
from thinkseg.annotation.build import AnnotationSettings, annotate
from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.annotation.source import AnnotationSource
from thinkseg.data import open_benchmark
from thinkseg.data.cot import CotSet, read_cot_set
from thinkseg.demonstrations import dialogue
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.models.policies.qwen.checkpoint import load_view
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.prompts import BUILT_IN
from thinkseg.storage.fingerprint import first_change
from thinkseg.training import memory_plan
from thinkseg.training.recipes import ModelRecipe
from thinkseg.training.sft.data import KINDS, Mixture
from thinkseg.training.sft.recipe import Recipe, Stage, load_recipe
from thinkseg.training.sft.train import inputs_of, train
from thinkseg.types import View
from tinymodels import changed

RECIPES = Path(__file__).parents[3] / "recipes"

VIEW = View(2, (56, 56))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of samples of shapes, written by the rule annotator."""
    out = tmp_path_factory.mktemp("sets") / "shapes"
    source = AnnotationSource(open_benchmark("shapes", split="train", limit=6))
    annotator, settings, costs = RuleAnnotator(VIEW), AnnotationSettings(VIEW, 0, {}), CostTracker(CostBudget(), 0)
    result = annotate(source, source.candidates, annotator, settings, costs, out)
    assert sum(one.sample is not None for one in result.verifications) >= 5
    return out


@pytest.fixture(scope="module")
def cot(root: Path) -> CotSet:
    return read_cot_set(root)


def recipe_for(root: Path | None, model: Path, **changes: Any) -> Recipe:
    stage = Stage(
        name="sft",
        objective="causal_lm",
        steps=3,
        batch_size=2,
        learning_rate=1e-3,
        data={"cot": 1.0},
        save_steps=2,
        dataloader_num_workers=0,
    )
    settings: dict[str, Any] = {
        "model": ModelRecipe(name=str(model)),
        "stages": (stage,),
        "num_frames": 2,
        "frame_wh": (56, 56),
        "precision": "fp32",
        "cot_set": None if root is None else str(root),
    }
    return Recipe(**settings | changes)


def mixture(cot: CotSet, encoder: Any, **changes: Any) -> Mixture:
    settings: dict[str, Any] = {
        "kind_weights": {"cot": 1.0},
        "questions_per_clip": 1,
        "clip_offset": 30,
        "length": 100,
        "cot": cot,
    }
    return Mixture(encoder, VIEW, **settings | changes)


def test_cot_epochs_are_permutations_of_set(cot: CotSet) -> None:
    count, data = len(cot.samples), mixture(cot, None)
    replies = [KINDS["cot"](data, 30 + at, np.random.default_rng(0))[0][1] for at in range(3 * count)]
    epochs = [replies[at : at + count] for at in (0, count, 2 * count)]
    assert {tuple(sorted(map(str, one))) for one in epochs} == {
        tuple(sorted(str(dialogue(cot, sample, VIEW)[1]) for sample in cot.samples))
    }
    assert len({tuple(map(str, one)) for one in epochs}) > 1
    assert replies == [KINDS["cot"](data, 30 + at, np.random.default_rng(1))[0][1] for at in range(3 * count)]


def test_labels_cover_reply_only(cot: CotSet, encoder: Encoder) -> None:
    row = mixture(cot, encoder, length=1)[0]
    trained = encoder.tokenizer.decode(row.labels[row.labels >= 0])
    assert trained.startswith("<think>")
    assert trained.removesuffix("<|im_end|>").endswith("</answer>")


def test_cot_answers_have_no_thinking(cot: CotSet) -> None:
    (dialogue,) = KINDS["cot_answers"](mixture(cot, None), 30, np.random.default_rng(0))
    (full,) = KINDS["cot"](mixture(cot, None), 30, np.random.default_rng(0))
    assert str(dialogue[1]).startswith("<think></think><answer>")
    assert str(full[1]).endswith(str(dialogue[1]).removeprefix("<think>"))


def test_cot_keyframe_only_ends_before_boxes(cot: CotSet, encoder: Encoder) -> None:
    dialogues = [
        KINDS["cot_keyframe_only"](mixture(cot, encoder), 30 + at, np.random.default_rng(0)) for at in range(5)
    ]
    ends = [str(reply).partition("<answer>")[2] for ((_, reply),) in dialogues]
    assert any(end.startswith('{"keyframe_timestamp": ') and "}" not in end for end in ends)
    assert all("[[" not in end for end in ends)


def test_train_epochs_are_saved_as_steps(root: Path, cot: CotSet, qwen2_5: Path, tmp_path: Path) -> None:
    recipe = recipe_for(root, qwen2_5)
    stage = recipe.stages[0].model_copy(update={"steps": None, "epochs": 1.0, "data": {"cot_answers": 1.0}})
    recipe = recipe.model_copy(update={"stages": (stage,)})
    train(recipe, tmp_path)
    (saved,) = json.loads((tmp_path / "recipe.json").read_text())["stages"]
    assert (saved["steps"], "epochs" in saved) == (-(-len(cot.samples) // 2), False)
    assert load_recipe(tmp_path / "recipe.json").stages[0].steps == saved["steps"]
    assert train(recipe, tmp_path) == tmp_path / "model"  # the same length on resuming


def test_train_on_set_changes_weights_and_logs_loss(root: Path, qwen2_5: Path, tmp_path: Path) -> None:
    made = train(recipe_for(root, qwen2_5), tmp_path)
    assert changed(qwen2_5, made)
    (logged,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"loss"' in line]
    assert 0 < logged["loss"] < 20


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_train_veason_recipes_with_tiny_model(root: Path, qwen2_5: Path, tmp_path: Path, size: str) -> None:
    """Replaces the model and the set by tiny ones, with small frames and one step."""
    recipe = load_recipe(RECIPES / f"veason-{size}-sft.yaml")
    small = {"epochs": None, "steps": 1, "gradient_accumulation_steps": 2, "dataloader_num_workers": 0}
    recipe = changed_recipe(
        recipe,
        model=changed_recipe(recipe.model, name=str(qwen2_5)),
        stages=(changed_recipe(recipe.stages[0], **small),),
        num_frames=VIEW.num_frames,
        frame_wh=VIEW.frame_wh,
        cot_set=str(root),
    )
    assert load_view(train(recipe, tmp_path)) == replace(VIEW, label_unit="seconds", prompts=BUILT_IN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 3}, "num_frames: 2"),
        ({"frame_wh": (84, 84)}, "its thinking has boxes in pixels of frames of 56x56"),
    ],
)
def test_train_set_of_other_view_raises_before_training(
    root: Path, qwen2_5: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        train(recipe_for(root, qwen2_5, **changes), tmp_path)
    assert not (tmp_path / "stages" / "01-sft" / "model").exists()


def test_train_folder_without_set_raises(tmp_path: Path, qwen2_5: Path) -> None:
    with pytest.raises(DatasetError, match=r"settings\.json: cannot be read"):
        train(recipe_for(tmp_path, qwen2_5), tmp_path / "out")


def test_plan_cot_set_has_one_stage(root: Path, qwen2_5: Path) -> None:
    recipe = recipe_for(root, qwen2_5)
    (stage,) = memory_plan.plan(recipe, memory_plan.stats_of(recipe.model))
    assert stage.name == "sft"
    assert stage.activations > 0


CONTENT: dict[str, Any] = {
    "num_frames": 2,
    "frame_wh": [56, 56],
    "model": {"name": "a/b"},
    "stages": [{"name": "sft", "objective": "causal_lm", "steps": 1, "batch_size": 1, "learning_rate": 1.0}],
}


@pytest.mark.parametrize(("kind", "cot_set"), [("cot", None), ("traces", "runs/set")])
def test_load_recipe_cot_set_must_match_data(tmp_path: Path, kind: str, cot_set: str | None) -> None:
    stages = [{**CONTENT["stages"][0], "data": {kind: 1.0}}]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**CONTENT, "stages": stages, "cot_set": cot_set}))
    with pytest.raises(SettingsError, match="`cot_set` is required for the data `cot`, and only for it"):
        load_recipe(path)


def test_train_edited_set_or_model_raises(root: Path, qwen2_5: Path, tmp_path: Path) -> None:
    model, cot = tmp_path / "model", tmp_path / "cot"
    shutil.copytree(qwen2_5, model)
    shutil.copytree(root, cot)
    recipe = recipe_for(cot, model)
    before = inputs_of(recipe)
    shutil.copytree(cot, tmp_path / "copy")
    assert inputs_of(recipe_for(tmp_path / "copy", model)) == before
    image = next((cot / "frames").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"x")
    assert first_change(before, inputs_of(recipe)) == ("data", "frames")
    before = inputs_of(recipe)
    (cot / "samples.jsonl").write_text("".join(sorted((cot / "samples.jsonl").read_text().splitlines(True))[1:]))
    assert first_change(before, inputs_of(recipe)) == ("data", "frames, samples.jsonl")
    before = inputs_of(recipe)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert first_change(before, inputs_of(recipe)) == ("policy", "model.safetensors")
