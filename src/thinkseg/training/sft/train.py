"""Supervised fine-tuning by a recipe, stage by stage with `transformers.Trainer`.

    out/recipe.json          the settings of the run, including defaults
    out/fingerprints.json    of the initial model, the prompts and the CoT set, which must not change
    out/log.jsonl            one line per logged step
    out/tensorboard/         the same for TensorBoard
    out/stages/NN-name/      checkpoints of a stage while it runs; then `model/`
    out/model/               the result, in the save_pretrained layout

An interrupted run that is started again with the same recipe and folder resumes from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import CHAINS
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.data.cot import read_cot_set
from thinkseg.demonstrations import open_cot_set
from thinkseg.errors import SettingsError
from thinkseg.models import resolve_model
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.policies.qwen.checkpoint import create_encoder, create_model, create_tokenizer, load, save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.storage.fingerprint import Fingerprints
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, last_checkpoint, publish, run_stages, stage_folder
from thinkseg.training.packing import PackedRow, collate
from thinkseg.training.sft.data import Mixture, corpus
from thinkseg.training.sft.recipe import COT_KINDS, Recipe, Stage
from thinkseg.training.sft.vision_probe import VisionProbeData, collate_cells, probe
from thinkseg.training.trainer import resolve_view, run_view, trainable, trainer_class, training_arguments, uses_bf16
from thinkseg.types import View

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

STAGE_STRIDE = 10_000_000
"""Clips of the train split that are reserved for each stage."""


def train(recipe: Recipe, out: str | Path) -> Path:
    """Runs all stages of a recipe, or resumes them. Returns the folder of the finished model.

    Raises SettingsError if the recipe cannot be run, or if `out` holds the run of another recipe, model or data set, or
    is in use.
    """
    view = run_view(recipe)
    recipe = _checked(recipe, view)
    run = Path(out)

    def train_stage(number: int, folder: Path) -> None:
        model, encoder = _initial_model(recipe, run, number)
        _run_stage(recipe, number, model, encoder, folder, run)
        publish(folder / "model", lambda parts: save(model, encoder, parts, view))

    with claimed(recipe, run, inputs_of(recipe)):
        return run_stages(run, [stage.name for stage in recipe.stages], train_stage)


def _checked(recipe: Recipe, view: View) -> Recipe:
    """Returns the recipe with all lengths in steps. Raises errors of later stages before the first stage starts."""
    for stage in recipe.stages:
        if view.label_unit == "index" and stage.data.keys() - COT_KINDS:
            raise SettingsError(f"stages.{stage.name}.data: shapes are in seconds; label_unit: index is for CoT sets")
        distributed.per_process(stage.gradient_accumulation_steps, f"stages.{stage.name}.gradient_accumulation_steps")
    distributed.check_devices()
    if not recipe.cot_set:
        return recipe
    size = len(open_cot_set(recipe.cot_set, view, any_coordinates=True).samples)
    stages = (stage.resolved(size, stage.batch_size * stage.gradient_accumulation_steps) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": tuple(stages)})


def inputs_of(recipe: Recipe) -> Fingerprints:
    """Returns the fingerprints of what a run reads beside its recipe."""
    view = run_view(recipe)
    return {
        "policy": checkpoint_fingerprint(resolve_model(recipe.model.name)) if recipe.model.name else {},
        "prompts": {name: prompt_fingerprint(chain, view) for name, chain in CHAINS.items()},
        "data": read_cot_set(Path(recipe.cot_set)).fingerprint() if recipe.cot_set else {},
    }


def _initial_model(recipe: Recipe, out: Path, number: int) -> tuple[PreTrainedModel, Encoder]:
    """Returns the initial model of a stage: the result of the previous stage, or the recipe's model."""
    import torch

    source = recipe.model
    if source.create and not number:
        create = source.create
        texts = corpus(recipe.view, create.tokenizer_clips)
        tokenizer = create_tokenizer(texts, create.vocab_size, create.max_integer_token, create.num_decimal_tokens)
        model = create_model(create.vision, create.text, tokenizer, recipe.seed)
        return model, create_encoder(tokenizer, create.vision)
    folder = resolve_model(str(source.name))
    if number:
        folder = stage_folder(out, number - 1, recipe.stages[number - 1].name) / "model"
    precision: Any = "bf16" if uses_bf16(recipe.precision) and source.lora else "fp32"
    model, encoder = load(folder, precision)
    torch.manual_seed(recipe.seed + number)  # a resumed stage gets the same initial heads or adapters
    return model, encoder


def _run_stage(recipe: Recipe, number: int, model: PreTrainedModel, encoder: Encoder, folder: Path, out: Path) -> None:
    stage = recipe.stages[number]
    offset = recipe.clip_offset + number * STAGE_STRIDE
    length = stage.num_steps * stage.batch_size * stage.gradient_accumulation_steps
    view = resolve_view(run_view(recipe), model, encoder)
    if stage.objective == "vision_probe":
        trained: Any = probe(model.model.visual, model.config.text_config.hidden_size)
        data: Any = VisionProbeData(encoder, view, offset, length)
        collator: Any = collate_cells
    else:
        trained = trainable(model, recipe.model, stage.gradient_checkpointing)
        cot = open_cot_set(recipe.cot_set, view) if recipe.cot_set and stage.reads_cot_set else None
        data = Mixture(
            encoder,
            view,
            stage.data,
            stage.questions_per_clip,
            offset,
            length,
            stage.batch_size,
            cot,
            stage.category_weights,
            stage.noise_word_rate,
        )
        collator = _Collate(encoder.pad_id)
    trainer = stage_trainer(
        recipe,
        stage,
        folder,
        out,
        trained,
        data,
        collator,
        gradient_checkpointing=stage.gradient_checkpointing,
        per_device_train_batch_size=stage.batch_size,
        gradient_accumulation_steps=distributed.per_process(
            stage.gradient_accumulation_steps, "gradient_accumulation_steps"
        ),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    if recipe.model.lora and stage.objective == "causal_lm":
        trained.merge_and_unload()


class _Collate:
    """`collate` bound to a padding token; a class, because loader processes must pickle it."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[PackedRow]) -> dict[str, torch.Tensor]:
        return collate(rows, self.pad_id)


def stage_trainer(
    recipe: Recipe, stage: Stage, folder: Path, out: Path, model: Any, data: Any, collator: Any, **own: Any
) -> Trainer:
    """Makes the Trainer of one stage, with its checkpoints in `folder` and its log in `out`.

    own: further `TrainingArguments`.
    """
    from transformers import PrinterCallback

    from thinkseg.training.log import JsonLines

    arguments = training_arguments(
        stage,
        folder,
        out / "tensorboard" / stage.name,
        seed=recipe.seed,
        precision=recipe.precision,
        report_to=recipe.report_to,
        logging_steps=min(20, stage.num_steps),
        dataloader_num_workers=stage.dataloader_num_workers,
        dataloader_persistent_workers=stage.dataloader_num_workers > 0,
        **own,
    )
    trainer = trainer_class(stage.optimizer)(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=collator,
        callbacks=[JsonLines(out, stage.name)] if distributed.rank() == 0 else [],
    )
    trainer.remove_callback(PrinterCallback)  # JsonLines prints the same
    return trainer
