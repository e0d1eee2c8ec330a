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

from thinkseg.errors import SettingsError
from thinkseg.lessons import opened_set
from thinkseg.models import place_of
from thinkseg.models.encoder import Encoder
from thinkseg.models.qwen import create_encoder, create_model, create_tokenizer, load_model, save
from thinkseg.train import processes, run
from thinkseg.train.mixtures import KINDS, Mixture, corpus
from thinkseg.train.optimizer import create_optimizer
from thinkseg.train.packing import Row, collate
from thinkseg.train.recipe import Recipe, Stage
from thinkseg.train.warmup import Cells, collate_cells, probe
from thinkseg.train.words import words_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

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
        run.publish(folder / "model", lambda parts: save(model, encoder, parts, recipe.view))

    with run.claimed(recipe, out):
        return run.in_stages(out, [stage.name for stage in recipe.stages], teach)


def _check(recipe: Recipe) -> None:
    """What a recipe alone does not show, said before hours have gone into earlier stages."""
    for stage in recipe.stages:
        processes.share(stage.accumulate, f"stage {stage.name!r}: accumulate")
        for kind in stage.data:
            if kind not in KINDS:
                raise SettingsError(f"stage {stage.name!r}: no data {kind!r}; there are {', '.join(KINDS)}")
    if recipe.cot_set:
        opened_set(recipe.cot_set, recipe.view, any_coordinates=True)
    processes.check_devices()


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
    before = place_of(str(source.name))
    if number:
        before = run.stage_folder(out, number - 1, recipe.stages[number - 1].name) / "model"
    precision: Any = "bf16" if run.bf16(recipe.precision) and source.lora else "fp32"
    model, encoder = load_model(before, precision), Encoder.load(before)
    torch.manual_seed(recipe.seed + number)  # what a stage adds, heads or adapters, is the same after an interruption
    return model, encoder


def _run_stage(recipe: Recipe, number: int, model: PreTrainedModel, encoder: Encoder, folder: Path, out: Path) -> None:
    stage = recipe.stages[number]
    offset, length = recipe.first_clip + number * STAGE_STRIDE, stage.steps * stage.batch * stage.accumulate
    view = run.checked_view(recipe.view, model, encoder)
    if stage.objective == "patches":
        trained: Any = probe(model.model.visual, model.config.text_config.hidden_size)
        data: Any = Cells(encoder, view, offset, length)
        collator: Any = collate_cells
    else:
        trained = run.trainable(model, recipe.model, stage.gradient_checkpointing)
        cot = opened_set(recipe.cot_set, view) if "cot" in stage.data else None
        data = Mixture(
            encoder, view, stage.data, stage.questions, offset, length, stage.batch, cot, stage.asked, stage.strays
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
        activation_checkpointing=stage.gradient_checkpointing,
        per_device_train_batch_size=stage.batch,
        gradient_accumulation_steps=processes.share(stage.accumulate, "accumulate"),
    )
    trainer.train(resume_from_checkpoint=run.last_checkpoint(folder))
    if recipe.model.lora and stage.objective == "words":
        trained.merge_and_unload()


class _Collate:
    """`collate` bound to a padding token; a class, so that loader processes can be handed it."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        return collate(rows, self.pad_id)


def stage_trainer(
    recipe: Recipe, stage: Stage, folder: Path, out: Path, model: Any, data: Any, collator: Any, **own: Any
) -> Trainer:
    """The Trainer of one stage of a run, which logs to the run's log and keeps its checkpoints in the stage's folder.

    own: what else the Trainer is told, as `transformers.TrainingArguments` takes it.
    """
    from transformers import PrinterCallback

    from thinkseg.train.log import JsonLines

    arguments = run.arguments(
        stage,
        folder,
        out / "tensorboard" / stage.name,
        seed=recipe.seed,
        precision=recipe.precision,
        report_to=recipe.report_to,
        logging_steps=min(20, stage.steps),
        dataloader_num_workers=stage.workers,
        dataloader_persistent_workers=stage.workers > 0,
        **own,
    )
    trainer = trainer_class(stage.optimizer)(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=collator,
        callbacks=[JsonLines(out, stage.name)] if processes.number() == 0 else [],
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
            if num_items_in_batch is not None:  # of all processes, while gradients are averaged over them
                loss = loss * processes.count()
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
