import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

from recipefiles import changed_recipe
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import BUNDLED
from thinkseg.models.policies.qwen.checkpoint import load_model, load_prompts, load_view
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.prompts import BUILT_IN
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.training.checkpoints import STATE_FILE
from thinkseg.training.log_probs import causal_lm_loss
from thinkseg.training.loop.log import RunLog
from thinkseg.training.packing import collate
from thinkseg.training.recipes import Create, Lora, ModelRecipe
from thinkseg.training.sft import train as sft
from thinkseg.training.sft.data import Mixture
from thinkseg.training.sft.recipe import Recipe, Stage
from thinkseg.training.sft.train import train
from thinkseg.types import View
from tinymodels import TEXT, VISION, asked, changed, picture, weights


def stage(name: str, objective: str = "causal_lm", **changes: Any) -> Stage:
    settings: dict[str, Any] = {
        "name": name,
        "objective": objective,
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "save_steps": 2,
        "dataloader_num_workers": 0,
    }
    return Stage(**settings | changes)


create = Create(
    vision=VISION, text=TEXT, vocab_size=500, max_integer_token=60, num_decimal_tokens=60, tokenizer_clips=10
)
CREATED = Recipe(
    model=ModelRecipe(create=create),
    stages=(
        stage("see", "vision_probe"),
        stage("name", data={"list_objects_single_frame": 1.0}),
        stage(
            "reason",
            data={"traces": 0.7, "list_objects": 0.3},
            questions_per_clip=2,
            batch_size=1,
            gradient_accumulation_steps=2,
            optimizer="muon",
        ),
    ),
    num_frames=2,
    frame_wh=(56, 56),
    precision="fp32",
)

FIRST_STAGE = changed_recipe(CREATED, stages=CREATED.stages[:1])
TWO_STAGES = changed_recipe(CREATED, stages=CREATED.stages[:2])


def tuned(folder: Path, lora: Lora | None = None, **changes: Any) -> Recipe:
    """A recipe that fine-tunes a saved model for two steps."""
    changes = {"steps": 2, "data": {"traces": 1.0}, **changes}
    multiple = Encoder.load(folder).size_multiple
    return Recipe(
        model=ModelRecipe(name=str(folder), lora=lora),
        stages=(stage("sft", **changes),),
        num_frames=2,
        frame_wh=(2 * multiple, 2 * multiple),
        precision="fp32",
    )


class Killed(BaseException):
    """Not an Exception, so that no handler catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    """Interrupts a training at the end of a step, before a checkpoint of that step is saved."""

    def add(self: RunLog, number: int, values: Any) -> None:
        if self.stage == stage and number == step:
            raise Killed
        log(self, number, values)

    log = RunLog.add
    monkeypatch.setattr(RunLog, "add", add)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of all stages."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert train(CREATED, out) == out / "model"
    return out


def test_train_returns_folder_of_policy(finished: Path) -> None:
    policy = QwenPolicy.load(finished / "model", device="cpu", max_new_tokens=4)
    assert policy.view == View(2, (56, 56), label_unit="seconds", prompts=BUILT_IN)
    assert policy.reply([(asked("Where?", [picture(0)]),)])[0].num_tokens <= 4
    assert changed(finished / "model", finished / "stages" / "03-reason" / "model") == set()


def test_train_uses_clip_offset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offsets: list[int] = []

    def stop(task: Any, *_: Any, **__: Any) -> None:
        offsets.append(task.data.clip_offset)
        raise Killed

    monkeypatch.setattr(sft, "run_steps", stop)
    for offset in (0, 60_000_000):
        with pytest.raises(Killed):
            train(changed_recipe(CREATED, clip_offset=offset), tmp_path / str(offset))
    assert offsets == [0, 60_000_000]


def test_train_writes_recipe_and_logs(finished: Path) -> None:
    assert json.loads((finished / "recipe.json").read_text())["stages"][0]["name"] == "see"
    records = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    losses = [(r["stage"], r["step"]) for r in records if "loss" in r]
    assert losses == [("see", 4), ("name", 4), ("reason", 4)]
    assert all(0 < r["loss"] < 20 for r in records if "loss" in r)
    assert {p.name for p in (finished / "tensorboard").iterdir()} == {"see", "name", "reason"}
    assert all(list(folder.glob("events.*")) for folder in (finished / "tensorboard").iterdir())


def test_train_removes_checkpoints_and_partial_files(finished: Path) -> None:
    assert not list(finished.rglob("checkpoint-*"))
    assert not list(finished.rglob("*.part"))


def test_causal_lm_stage_of_created_model_changes_all_weights(finished: Path) -> None:
    folders = [finished / "stages" / name / "model" for name in ("01-see", "02-name", "03-reason")]
    for before, after in ((folders[0], folders[1]), (folders[1], folders[2])):
        assert changed(before, after) == set(weights(after))
    # The heads of the vision probe are not saved.
    assert weights(folders[0]).keys() == weights(folders[2]).keys()


def test_train_bundled_policy_by_name_changes_weights(tmp_path: Path) -> None:
    recipe = Recipe(
        model=ModelRecipe(name="shapes"),
        stages=(stage("sft", steps=2, batch_size=1, data={"traces": 1.0}),),
        num_frames=1,
        frame_wh=(56, 56),
        precision="fp32",
    )
    made = train(recipe, tmp_path)
    assert changed(BUNDLED["shapes"], made)


def test_train_finished_run_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sft, "_run_stage", None)
    before = (finished / "log.jsonl").read_text()
    assert train(CREATED, finished) == finished / "model"
    assert (finished / "log.jsonl").read_text() == before


@pytest.mark.parametrize(("name", "step"), [("see", 1), ("reason", 3)])
def test_train_resumed_run_matches_uninterrupted_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: int
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, name, step)
        with pytest.raises(Killed):
            train(CREATED, tmp_path)
    assert not (tmp_path / "model").exists()
    assert changed(finished / "model", train(CREATED, tmp_path)) == set()
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["stage"] for r in logged if "loss" in r] == ["see", "name", "reason"]
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first stage, interrupted after its checkpoint of step 2."""
    out = tmp_path_factory.mktemp("runs") / "interrupted"
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "see", 3)
        with pytest.raises(Killed):
            train(FIRST_STAGE, out)
    return out


@pytest.mark.parametrize("state", [None, "", '{"epoch": 1'], ids=["no state", "empty state", "half a state"])
def test_train_incomplete_checkpoint_is_skipped(
    finished: Path, interrupted: Path, tmp_path: Path, state: str | None
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "run"))
    complete = out / "stages" / "01-see" / "checkpoint-2"
    incomplete = Path(shutil.copytree(complete, complete.with_name("checkpoint-3")))
    (incomplete / "__0_0.distcp").write_bytes(b"incomplete")
    (incomplete / STATE_FILE).unlink()
    if state is not None:
        (incomplete / STATE_FILE).write_text(state)
    assert changed(finished / "stages" / "01-see" / "model", train(FIRST_STAGE, out)) == set()


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_train_damaged_checkpoint_raises_one_line(interrupted: Path, tmp_path: Path, name: str) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "run"))
    (out / "stages" / "01-see" / "checkpoint-2" / name).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"checkpoint-2: cannot resume from this checkpoint") as caught:
        train(FIRST_STAGE, out)
    assert "\n" not in str(caught.value)


def test_train_after_sigkill_matches_uninterrupted_run(finished: Path, tmp_path: Path) -> None:
    """The killed process flushes no buffers and closes no files."""
    script = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")]!r}
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_train import TWO_STAGES
from thinkseg.training.loop.log import RunLog
from thinkseg.training.sft.train import train
log = RunLog.add
def add(self, number, values):
    if self.stage == "name" and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    log(self, number, values)
RunLog.add = add
train(TWO_STAGES, Path({str(tmp_path)!r}))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (tmp_path / "stages" / "02-name" / "checkpoint-2").is_dir()
    assert changed(finished / "stages" / "02-name" / "model", train(TWO_STAGES, tmp_path)) == set()


def test_train_folder_of_other_recipe_raises(finished: Path) -> None:
    other = changed_recipe(CREATED, seed=1)
    with pytest.raises(SettingsError, match="holds the run of another recipe"):
        train(other, finished)
    assert train(CREATED, finished).is_dir()


def test_train_unwritable_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"cannot write results to .*file is a file\): choose another"):
        train(CREATED, tmp_path / "file")


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        (
            changed_recipe(CREATED, model=ModelRecipe(create=Create(vision={}, text=TEXT, tokenizer_clips=1))),
            "model.create.vision: missing field 'hidden_size'",
        ),
        (
            changed_recipe(
                CREATED, model=ModelRecipe(create=Create(vision=VISION, text=TEXT | {"depth": 3}, tokenizer_clips=1))
            ),
            "text: unknown field 'depth'",
        ),
        (
            changed_recipe(
                CREATED,
                model=ModelRecipe(create=Create(vision=VISION | {"depth": "deep"}, text=TEXT, tokenizer_clips=1)),
            ),
            "model.create: .*depth",
        ),
        (changed_recipe(CREATED, frame_wh=(56, 60)), r"frame_wh: \[56, 60\] are not multiples of 28"),
        (changed_recipe(CREATED, closeup_wh=(56, 60)), r"closeup_wh: \[56, 60\] are not multiples of 28"),
    ],
)
def test_train_invalid_recipe_raises_before_first_stage(tmp_path: Path, recipe: Recipe, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        train(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()


def test_train_accumulation_steps_not_divisible_by_processes_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="gradient_accumulation_steps: 1 is not a multiple of 2"):
        train(CREATED, tmp_path)


def test_train_one_process_with_several_gpus_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError, match="torchrun --nproc-per-node 2"):
        train(CREATED, tmp_path)


@pytest.mark.parametrize(
    ("which", "stock"),
    [("qwen2_5", Qwen2_5_VLForConditionalGeneration), ("qwen3", Qwen3VLForConditionalGeneration)],
)
def test_train_lora_changes_linear_layers_of_language_model_only(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, stock: Any
) -> None:
    """The result is a model without an adapter."""
    folder = request.getfixturevalue(which)
    result = train(tuned(folder, Lora(rank=2), learning_rate=1e-2), tmp_path)
    linear = re.compile(r"model\..*layers\.\d\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight")
    targets = {name for name in weights(folder) if linear.fullmatch(name) and "visual" not in name}
    assert len(targets) == 7 * TEXT["num_hidden_layers"]
    assert changed(folder, result) == targets
    model = stock.from_pretrained(result)
    assert torch.equal(model.lm_head.weight, load_model(folder).lm_head.weight)
    assert AutoTokenizer.from_pretrained(result).get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()
    assert load_view(result).coordinates == load_view(folder).coordinates
    assert len(QwenPolicy.load(result, device="cpu", max_new_tokens=2).reply([(asked("Where?", []),)])) == 1


def test_train_lora_update_has_its_rank(qwen2_5: Path, tmp_path: Path) -> None:
    result = train(tuned(qwen2_5, Lora(rank=2), learning_rate=1e-2), tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.linalg.matrix_rank(weights(result)[name] - weights(qwen2_5)[name], rtol=1e-3) == 2


@pytest.mark.parametrize("steps_before", [1, 2], ids=["before a checkpoint", "after one"])
def test_train_lora_resumed_matches_uninterrupted_run(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    recipe = tuned(qwen2_5, Lora(rank=2), steps=3, batch_size=1, save_steps=1)
    uninterrupted = train(recipe, tmp_path / "uninterrupted")
    with monkeypatch.context() as patch:
        kill_at(patch, "sft", steps_before)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "killed")
    torch.manual_seed(steps_before)  # a new process has another random state
    assert changed(uninterrupted, train(recipe, tmp_path / "killed")) == set()


def test_train_saved_model_keeps_vision_tower(qwen2_5: Path, tmp_path: Path) -> None:
    result = train(tuned(qwen2_5), tmp_path)
    assert changed(qwen2_5, result) == {name for name in weights(qwen2_5) if "visual." not in name}


def test_train_saved_model_with_train_vision_changes_vision_tower(qwen2_5: Path, tmp_path: Path) -> None:
    recipe = tuned(qwen2_5)
    recipe = changed_recipe(recipe, model=changed_recipe(recipe.model, train_vision=True))
    assert changed(qwen2_5, train(recipe, tmp_path)) == set(weights(qwen2_5))


@pytest.mark.parametrize(("which", "coordinates"), [("qwen2_5", "pixels"), ("qwen3", "normalized_1000")])
def test_train_data_has_coordinates_of_model(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, coordinates: str
) -> None:
    views: list[View] = []

    def recording(encoder: Encoder, view: View, *rest: Any) -> Mixture:
        views.append(view)
        return Mixture(encoder, view, *rest)

    monkeypatch.setattr(sft, "Mixture", recording)
    folder = request.getfixturevalue(which)
    train(tuned(folder, Lora(rank=1), steps=1), tmp_path)
    assert [view.coordinates for view in views] == [coordinates]


def assert_close(one: Path, other: Path) -> None:
    """Allows for rounding errors, which Adam amplifies where a gradient is almost zero."""
    first, second = weights(one), weights(other)
    for name, value in first.items():
        assert (second[name] - value).abs().mean() < 2e-6, name


def test_train_accumulated_batches_match_one_batch(qwen2_5: Path, tmp_path: Path) -> None:
    """Each label of a step has the same weight for every number of micro-batches.

    Trains for one step, because the batch size changes the assignment of rows to steps.
    """
    one = tuned(qwen2_5, steps=1, batch_size=4, gradient_accumulation_steps=1, warmup_steps=0.0)
    many = tuned(qwen2_5, steps=1, batch_size=1, gradient_accumulation_steps=4, warmup_steps=0.0)
    assert_close(train(one, tmp_path / "one"), train(many, tmp_path / "many"))
    losses = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])["loss"] for name in ("one", "many")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_train_with_gradient_checkpointing_matches_without(qwen2_5: Path, tmp_path: Path) -> None:
    kept = tuned(qwen2_5, Lora(rank=2), warmup_steps=0.0)
    again = tuned(qwen2_5, Lora(rank=2), warmup_steps=0.0, gradient_checkpointing=True)
    assert_close(train(kept, tmp_path / "kept"), train(again, tmp_path / "again"))
    assert changed(qwen2_5, tmp_path / "again" / "model")


def test_train_with_loader_processes_matches_without(qwen2_5: Path, tmp_path: Path) -> None:
    without, with_loader = tuned(qwen2_5, Lora(rank=1)), tuned(qwen2_5, Lora(rank=1), dataloader_num_workers=1)
    assert changed(train(without, tmp_path / "without"), train(with_loader, tmp_path / "with")) == set()


@pytest.mark.parametrize("which", ["qwen2_5", "qwen3"])
def test_train_two_turns_saves_both_frame_sizes(request: pytest.FixtureRequest, tmp_path: Path, which: str) -> None:
    """Branches of the rows have images of their own."""
    recipe = tuned(request.getfixturevalue(which), data={"two_turns": 0.7, "traces": 0.3}, questions_per_clip=2)
    width, height = recipe.frame_wh
    recipe = changed_recipe(recipe, closeup_wh=(2 * width, height))
    result = train(recipe, tmp_path)
    assert changed(Path(str(recipe.model.name)), result)
    view = load_view(result)
    assert (view.num_frames, view.frame_wh, view.closeup_wh) == (2, (width, height), (2 * width, height))


def test_train_again_keeps_the_wording_of_the_checkpoint(qwen2_5: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text('veason: {prompt: "{frames}{query}"}')
    first = train(changed_recipe(tuned(qwen2_5), prompts=str(file)), tmp_path / "first")
    again = train(tuned(first), tmp_path / "again")
    assert load_prompts(first) == load_prompts(again) == read_prompts(file)
    file.write_text('veason: {prompt: "{frames}{query}!"}')
    with pytest.raises(SettingsError, match=r"the prompts changed since its first run \(veason\)"):
        train(changed_recipe(tuned(qwen2_5), prompts=str(file)), tmp_path / "first")


def test_recipe_of_run_omits_unset_fields(finished: Path) -> None:
    """Runs that started before a field existed can resume."""
    assert "closeup_wh" not in json.loads((finished / "recipe.json").read_text())
    with pytest.raises(SettingsError, match="another recipe"):
        train(changed_recipe(CREATED, closeup_wh=(56, 56)), finished)


def test_causal_lm_loss_falls_in_training(qwen2_5: Path, encoder: Encoder) -> None:
    """Gradient descent makes the labels more probable."""
    model = load_model(qwen2_5, "fp32")
    data = Mixture(encoder, View(2, (56, 56)), {"traces": 1.0}, questions_per_clip=1, clip_offset=0, length=1)
    batch = collate([data[0]], encoder.tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        loss = causal_lm_loss(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
