"""Supervised fine-tuning: a recipe in, a checkpoint folder out, stage by stage on `transformers.Trainer`.

    out/recipe.json          the settings of the run, defaults included
    out/log.jsonl            one line per logged step
    out/tensorboard/         the same for TensorBoard
    out/stages/NN-name/      checkpoints of a stage while it runs; `model/` once it is done
    out/model/               the result, in the ordinary layout

Killed at any moment and started again with the same recipe and folder, a run goes on from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.demonstrations import opened_set
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import create_encoder, create_model, create_tokenizer, load_model, save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, in_stages, last_checkpoint, publish, stage_folder
from thinkseg.training.packing import Row, collate
from thinkseg.training.sft.data import Mixture, corpus
from thinkseg.training.sft.recipe import Recipe
from thinkseg.training.sft.vision_warmup import VisionProbeData, collate_cells, probe
from thinkseg.training.trainer import resolve_view, stage_trainer, trainable, uses_bf16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

STAGE_STRIDE = 10_000_000
"""Clips of the train split set apart for each stage."""


def train(recipe: Recipe, out: Path) -> Path:
    """Runs all stages of a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe or is in use, or if it cannot be run.
    """
    _check(recipe)

    def teach(number: int, folder: Path) -> None:
        model, encoder = _start(recipe, out, number)
        _run_stage(recipe, number, model, encoder, folder, out)
        publish(folder / "model", lambda parts: save(model, encoder, parts, recipe.view))

    with claimed(recipe, out):
        return in_stages(out, [stage.name for stage in recipe.stages], teach)


def _check(recipe: Recipe) -> None:
    """What a recipe alone does not show, said before hours have gone into earlier stages."""
    for stage in recipe.stages:
        distributed.per_process(stage.gradient_accumulation_steps, f"stages.{stage.name}.gradient_accumulation_steps")
    if recipe.cot_set:
        opened_set(recipe.cot_set, recipe.view, any_coordinates=True)
    distributed.check_devices()


def _start(recipe: Recipe, out: Path, number: int) -> tuple[PreTrainedModel, Encoder]:
    """The model a stage begins with: the one before's, or the recipe's."""
    import torch

    source = recipe.model
    if source.create and not number:
        wanted = source.create
        texts = corpus(recipe.view, wanted.tokenizer_clips)
        tokenizer = create_tokenizer(texts, wanted.vocab_size, wanted.max_integer_token, wanted.num_decimal_tokens)
        model = create_model(source.create.vision, source.create.text, tokenizer, recipe.seed)
        return model, create_encoder(tokenizer, source.create.vision)
    before = resolve_model(str(source.name))
    if number:
        before = stage_folder(out, number - 1, recipe.stages[number - 1].name) / "model"
    precision: Any = "bf16" if uses_bf16(recipe.precision) and source.lora else "fp32"
    model, encoder = load_model(before, precision), Encoder.load(before)
    torch.manual_seed(recipe.seed + number)  # what a stage adds, heads or adapters, is the same after an interruption
    return model, encoder


def _run_stage(recipe: Recipe, number: int, model: PreTrainedModel, encoder: Encoder, folder: Path, out: Path) -> None:
    stage = recipe.stages[number]
    offset = recipe.clip_offset + number * STAGE_STRIDE
    length = stage.steps * stage.batch_size * stage.gradient_accumulation_steps
    view = resolve_view(recipe.view, model, encoder)
    if stage.objective == "vision_probe":
        trained: Any = probe(model.model.visual, model.config.text_config.hidden_size)
        data: Any = VisionProbeData(encoder, view, offset, length)
        collator: Any = collate_cells
    else:
        trained = trainable(model, recipe.model, stage.gradient_checkpointing)
        cot = opened_set(recipe.cot_set, view) if recipe.cot_set and "cot" in stage.data else None
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
    """`collate` bound to a padding token; a class, so that loader processes can be handed it."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        return collate(rows, self.pad_id)
