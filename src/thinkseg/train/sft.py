"""Supervised fine-tuning: a recipe in, a checkpoint folder out, stage by stage on `transformers.Trainer`.

    out/recipe.json          the settings of the run, defaults included
    out/log.jsonl            one line per logged step
    out/tensorboard/         the same for TensorBoard
    out/stages/NN-name/      checkpoints of a stage while it runs; `model/` once it is done
    out/model/               the result, in the ordinary layout

Killed at any moment and started again with the same recipe and folder, a run goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import SettingsError
from thinkseg.models.encoder import IGNORED, Encoder
from thinkseg.models.qwen import (
    COORDINATES,
    create_encoder,
    create_model,
    create_tokenizer,
    load_model,
    save,
    supports_bf16,
)
from thinkseg.train.mixtures import KINDS, Mixture, corpus
from thinkseg.train.optimizer import create_optimizer
from thinkseg.train.packing import Row, collate
from thinkseg.train.recipe import ModelRecipe, Recipe, Stage
from thinkseg.train.warmup import Cells, collate_cells, probe
from thinkseg.types import View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

STAGE_STRIDE = 10_000_000
"""Clips of the train split set apart for each stage."""

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def train(recipe: Recipe, out: Path) -> Path:
    """Runs all stages of a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe, or one that cannot be run.
    """
    _check(recipe)
    _claim(recipe, out)
    for number, stage in enumerate(recipe.stages):
        done = _stage_folder(out, recipe, number) / "model"
        if done.is_dir():
            continue
        model, encoder = _start(recipe, out, number)
        _run_stage(recipe, stage, number, model, encoder, out)
        _publish(model, encoder, done, recipe)
    final = out / "model"
    if not final.is_dir():
        parts = final.with_suffix(".part")
        shutil.copytree(_stage_folder(out, recipe, len(recipe.stages) - 1) / "model", parts, dirs_exist_ok=True)
        parts.rename(final)
    return final


def _check(recipe: Recipe) -> None:
    """What a recipe alone does not show, said before hours have gone into earlier stages."""
    import torch

    for stage in recipe.stages:
        for kind in stage.data:
            if kind not in KINDS:
                raise SettingsError(f"stage {stage.name!r}: no data {kind!r}; there are {', '.join(KINDS)}")
    if torch.cuda.device_count() > 1 or int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingsError("training runs on one device: choose a GPU, e.g. CUDA_VISIBLE_DEVICES=0")


def _claim(recipe: Recipe, out: Path) -> None:
    """Marks the folder as this recipe's, or checks that it is."""
    # What is not set is left out, so that the runs of older recipes go on.
    settings = json.dumps({k: v for k, v in asdict(recipe).items() if v is not None}, indent=2) + "\n"
    stamp = out / "recipe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if stamp.exists() and stamp.read_text() != settings:
            raise SettingsError(f"{out} holds the run of another recipe; choose another folder, or remove it")
        parts = stamp.with_suffix(".part")
        parts.write_text(settings)
        parts.replace(stamp)
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written: {error.strerror}; choose another folder") from None


def _stage_folder(out: Path, recipe: Recipe, number: int) -> Path:
    return out / "stages" / f"{number + 1:02d}-{recipe.stages[number].name}"


def _start(recipe: Recipe, out: Path, number: int) -> tuple[PreTrainedModel, Encoder]:
    """The model a stage begins with: the one before's, or the recipe's."""
    import torch

    source = recipe.model
    if source.create and not number:
        wanted = source.create
        texts = corpus(recipe.view, wanted.corpus)
        tokenizer = create_tokenizer(texts, wanted.vocab_size, wanted.whole_numbers, wanted.tenths)
        model = create_model(source.create.vision, source.create.text, tokenizer, recipe.seed)
        return model, create_encoder(tokenizer, source.create.vision)
    before = _stage_folder(out, recipe, number - 1) / "model" if number else source.name
    assert before
    precision: Any = "bf16" if _bf16(recipe) and source.lora else "fp32"
    model, encoder = load_model(before, precision), Encoder.load(before)
    torch.manual_seed(recipe.seed + number)  # what a stage adds, heads or adapters, is the same after an interruption
    return model, encoder


def _run_stage(recipe: Recipe, stage: Stage, number: int, model: PreTrainedModel, encoder: Encoder, out: Path) -> None:
    folder = _stage_folder(out, recipe, number)
    offset, length = number * STAGE_STRIDE, stage.steps * stage.batch * stage.accumulate
    view = _view(recipe, model, encoder)
    if stage.objective == "patches":
        trained: Any = probe(model.model.visual, model.config.text_config.hidden_size)
        data: Any = Cells(encoder, view, offset, length)
        trainer = _trainer(recipe, stage, folder, out, trained, data, collate_cells)
    else:
        trained = _trainable(model, recipe.model, stage)
        data = Mixture(encoder, view, stage.data, stage.questions, offset, length, stage.batch)
        trainer = _trainer(recipe, stage, folder, out, trained, data, _Collate(encoder.tokenizer.pad_token_id))
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    if recipe.model.lora and stage.objective == "words":
        trained.merge_and_unload()


def _view(recipe: Recipe, model: PreTrainedModel, encoder: Encoder) -> View:
    """The recipe's view, with boxes written as this kind of model writes them."""
    multiple = encoder.size_multiple
    for name, size_wh in (("frame_wh", recipe.frame_wh), ("closeup_wh", recipe.closeup_wh or ())):
        if any(side % multiple for side in size_wh):
            raise SettingsError(f"{name}: {list(size_wh)} are not multiples of {multiple}, as the model needs")
    return replace(recipe.view, coordinates=COORDINATES[model.config.model_type])


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole. A half-written one, left by a kill, is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # written last
        except (FileNotFoundError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def _trainable(model: Any, source: ModelRecipe, stage: Stage) -> Any:
    """The model with what the recipe trains unfrozen, under a LoRA adapter if it asks for one."""
    model.accepts_loss_kwargs = True  # so that the Trainer counts a step's labels over all its passes
    frozen = not (source.create or source.train_vision)
    model.model.visual.requires_grad_(not frozen)
    if not source.lora:
        return model
    from peft import LoraConfig, get_peft_model

    if stage.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = source.lora
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    return get_peft_model(model, config)


class _Collate:
    """`collate` bound to a padding token; a class, so that loader processes can be handed it."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        return collate(rows, self.pad_id)


def _bf16(recipe: Recipe) -> bool:
    import torch

    if recipe.precision == "auto":
        return supports_bf16("cuda" if torch.cuda.is_available() else "cpu")
    return recipe.precision == "bf16"


def _trainer(recipe: Recipe, stage: Stage, folder: Path, out: Path, model: Any, data: Any, collator: Any) -> Trainer:
    import torch
    from transformers import PrinterCallback, TrainingArguments

    from thinkseg.train.log import JsonLines

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard" / stage.name)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.batch,
        gradient_accumulation_steps=stage.accumulate,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.schedule,
        warmup_steps=stage.warmup,
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        activation_checkpointing=stage.gradient_checkpointing,
        bf16=_bf16(recipe),
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=min(20, stage.steps),
        save_steps=stage.save_every,
        save_total_limit=1,
        dataloader_num_workers=stage.workers,
        dataloader_persistent_workers=stage.workers > 0,
        train_sampling_strategy="sequential",  # every index is a fresh draw already
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=["tensorboard"],
    )
    trainer = trainer_class(stage.optimizer)(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=collator,
        callbacks=[JsonLines(out, stage.name)],
    )
    trainer.remove_callback(PrinterCallback)  # ours prints the same
    return trainer


def trainer_class(optimizer: str) -> type[Trainer]:
    """A Trainer that takes packed rows and one of `train.optimizer.OPTIMIZERS`, and whose checkpoints come back whole.

    Its loss is the mean over the labelled tokens of a step.
    """
    import transformers

    class PackedTrainer(transformers.Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if "labels" not in inputs:
                outputs = model(**inputs)
                return (outputs["loss"], outputs) if return_outputs else outputs["loss"]
            loss = words_loss(model, inputs, num_items_in_batch)
            return (loss, {}) if return_outputs else loss

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                trained: Any = self.model if model is None else model
                decayed = self.get_decay_parameter_names(trained)
                rate, decay = self.args.learning_rate, self.args.weight_decay
                self.optimizer = create_optimizer(optimizer, trained, rate, decay, decayed)
            return self.optimizer

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # Qwen2.5-VL is saved under the hub's names of its weights. The stock method looks for the names in memory,
            # finds few of them, and would go on with the weights the stage began with.
            if isinstance(self.model, transformers.PreTrainedModel):
                self.model.load_state_dict(load_model(resume_from_checkpoint, "fp32").state_dict())
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    return PackedTrainer


def words_loss(model: Any, batch: dict[str, Any], num_items: Any = None) -> torch.Tensor:
    """Cross-entropy of a batch of `collate`, summed and divided by `num_items` (its own labelled tokens if None)."""
    import torch
    from torch.nn import functional

    inputs = {k: v for k, v in batch.items() if k not in ("labels", "predictor")}
    rows, places = torch.nonzero(batch["labels"] != IGNORED, as_tuple=True)
    sources = batch["predictor"][rows, places]
    # Logits are only made at places that predict a labelled token in some row.
    wanted, at = torch.unique(sources, return_inverse=True)
    logits = model(**inputs, use_cache=False, logits_to_keep=wanted).logits
    labels = batch["labels"][rows, places]
    loss = functional.cross_entropy(logits[rows, at].float(), labels, reduction="sum")
    return loss / (len(labels) if num_items is None else num_items)


def _publish(model: PreTrainedModel, encoder: Encoder, folder: Path, recipe: Recipe) -> None:
    """Saves a stage's model, under its final name only once it is complete, and drops the stage's checkpoints."""
    parts = folder.with_suffix(".part")
    save(model, encoder, parts, recipe.view)
    parts.rename(folder)
    for checkpoint in folder.parent.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
