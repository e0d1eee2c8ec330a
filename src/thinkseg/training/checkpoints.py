"""What every way of training does with its folder and its model: a recipe in, a run that can be resumed out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import SettingsError
from thinkseg.models.encoder import Encoder
from thinkseg.models.qwen import COORDINATES, supports_bf16
from thinkseg.results import locked, replacing
from thinkseg.train import processes
from thinkseg.train.recipe import ModelRecipe
from thinkseg.types import View

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

LOG_FILE = "log.jsonl"
"""The log of a run in its folder: one JSON object for each logged step."""

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@contextmanager
def claimed(recipe: Any, out: Path) -> Iterator[None]:
    """Marks the folder as this recipe's (a dataclass), or checks that it is, and keeps other runs out for the while.

    Raises SettingsError if it is another recipe's, or another run is at work in it.
    """
    with processes.first_goes_first():
        _claim(recipe, out)
    with locked(out) if processes.number() == 0 else nullcontext():
        yield


def _claim(recipe: Any, out: Path) -> None:
    # What is not set is left out, so that the runs of older recipes go on.
    settings = json.dumps(asdict(recipe, dict_factory=_set_ones), indent=2) + "\n"
    stamp = out / "recipe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if stamp.exists() and stamp.read_text() != settings:
            raise SettingsError(f"{out} holds the run of another recipe; choose another folder, or remove it")
        if not stamp.exists():
            with replacing(stamp) as partial:
                partial.write_text(settings)
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written: {error.strerror}; choose another folder") from None


def _set_ones(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value is not None}


def checked_view(view: View, model: PreTrainedModel, encoder: Encoder) -> View:
    """A recipe's view, with boxes written as this kind of model writes them. Raises SettingsError for other sizes."""
    multiple = encoder.size_multiple
    for name, size_wh in (("frame_wh", view.frame_wh), ("closeup_wh", view.closeup_wh or ())):
        if any(side % multiple for side in size_wh):
            raise SettingsError(f"{name}: {list(size_wh)} are not multiples of {multiple}, as the model needs")
    return replace(view, coordinates=COORDINATES[model.config.model_type])


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole. A half-written one, left by a kill, is removed."""
    with processes.first_goes_first():
        return _last_checkpoint(folder)


def _last_checkpoint(folder: Path) -> str | None:
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # written last
        except (FileNotFoundError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def trainable(model: Any, source: ModelRecipe, gradient_checkpointing: bool) -> Any:
    """The model with what the recipe trains unfrozen, under a LoRA adapter if it asks for one."""
    model.accepts_loss_kwargs = True  # so that the Trainer counts a step's labels over all its passes
    frozen = not (source.create or source.train_vision)
    model.model.visual.requires_grad_(not frozen)
    if not source.lora:
        return model
    from peft import LoraConfig, get_peft_model

    if gradient_checkpointing:
        model.enable_input_require_grads()
    lora = source.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    return get_peft_model(model, config)


def bf16(precision: str) -> bool:
    """Whether to compute in bf16: as the recipe says, or if it leaves that open, where the hardware is quick at it."""
    import torch

    if precision == "auto":
        return supports_bf16("cuda" if torch.cuda.is_available() else "cpu")
    return precision == "bf16"


def arguments(
    settings: Any,
    folder: Path,
    tensorboard: Path,
    seed: int,
    precision: str,
    report_to: Sequence[str] | None,
    **own: Any,
) -> TrainingArguments:
    """What the Trainer is told, whatever it trains.

    settings: has the fields of a `train.recipe.Stage` that say how long and how fast to learn.
    folder: for checkpoints. report_to: names of `REPORTERS`; TensorBoard if None. own: what else this training wants
    told.
    """
    import torch
    from transformers import TrainingArguments

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tensorboard)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=bf16(precision),
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
        save_steps=settings.save_every,
        save_total_limit=1,
        train_sampling_strategy="sequential",  # every index is a fresh draw already
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=["tensorboard"] if report_to is None else list(report_to),
        ddp_find_unused_parameters=False,
        **own,
    )


def in_stages(out: Path, names: Sequence[str], teach: Callable[[int, Path], None]) -> Path:
    """Runs the stages of these names that are not done yet, and returns the folder of the finished model.

    teach: called with the number of a stage and its folder, where it leaves `model` once that is done.
    """
    for number, name in enumerate(names):
        folder = stage_folder(out, number, name)
        if not (folder / "model").is_dir():
            teach(number, folder)
    return _finish(out, stage_folder(out, len(names) - 1, names[-1]) / "model")


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Where a stage keeps its checkpoints, and then its model."""
    return out / "stages" / f"{number + 1:02d}-{name}"


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Has a model written to a folder that has its name only once it is complete; drops the checkpoints beside it."""
    with processes.first_goes_first():
        if not folder.is_dir():
            parts = folder.with_suffix(".part")
            write(parts)
            for weights in parts.glob("*.safetensors"):  # which are written for their owner alone
                weights.chmod(parts.stat().st_mode & 0o666)
            parts.rename(folder)
            for checkpoint in folder.parent.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)


def _finish(out: Path, result: Path) -> Path:
    """Copies the finished model to `out`/model, under that name only once it is complete."""
    final = out / "model"
    with processes.first_goes_first():
        if not final.is_dir():
            parts = final.with_suffix(".part")
            shutil.copytree(result, parts, dirs_exist_ok=True)
            parts.rename(final)
    return final
