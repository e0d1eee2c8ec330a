"""Supervised fine-tuning by a recipe, stage by stage.

    out/recipe.json          the settings of the run, including defaults
    out/fingerprints.json    of the initial model, the prompts and the CoT set, which must not change
    out/log.jsonl            one line per logged step
    out/tensorboard/         the same for TensorBoard
    out/stages/NN-name/      checkpoints of a stage while it runs; then `model/`
    out/model/               the result, in the save_pretrained layout

An interrupted run that is started again with the same recipe and folder resumes from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.chains import CHAINS
from thinkseg.chains.prompts import prompt_fingerprint
from thinkseg.data.cot import read_cot_set
from thinkseg.demonstrations import open_cot_set
from thinkseg.errors import SettingsError
from thinkseg.models import resolve_model
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.policies.qwen.checkpoint import (
    autocast,
    create_encoder,
    create_model,
    create_tokenizer,
    save,
)
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder
from thinkseg.storage.fingerprint import Fingerprints
from thinkseg.training import distributed
from thinkseg.training.checkpoints import claimed, publish, run_stages, stage_folder
from thinkseg.training.log_probs import causal_lm_loss
from thinkseg.training.loop.log import RunLog
from thinkseg.training.loop.run import to_device
from thinkseg.training.loop.run import train as run_steps
from thinkseg.training.loop.sharding import restored
from thinkseg.training.packing import collate
from thinkseg.training.sft.data import Mixture, corpus
from thinkseg.training.sft.recipe import COT_KINDS, Recipe, Stage
from thinkseg.training.sft.vision_probe import VisionProbeData, collate_cells, probe
from thinkseg.training.trainer import (
    autocasts,
    checkpoint_activations,
    load_initial,
    placed,
    resolve_view,
    run_view,
    trainable,
)
from thinkseg.types import View

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel

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
        stage = _StageModel(recipe, run, number)
        _run_stage(stage, folder)
        publish(folder / "model", lambda parts: save(stage.model, stage.encoder, parts, view))

    with claimed(recipe, run, inputs_of(recipe)):
        return run_stages(run, [stage.name for stage in recipe.stages], train_stage)


def _checked(recipe: Recipe, view: View) -> Recipe:
    """Returns the recipe with all lengths in steps. Raises errors of later stages before the first stage starts."""
    for stage in recipe.stages:
        if view.label_unit == "index" and stage.data.keys() - COT_KINDS:
            raise SettingsError(f"stages.{stage.name}.data: shapes are in seconds; label_unit: index is for CoT sets")
        distributed.per_process(stage.gradient_accumulation_steps, f"stages.{stage.name}.gradient_accumulation_steps")
    distributed.check_devices()
    distributed.connect(always=recipe.sharding == "full")
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


def _initial_model(recipe: Recipe, out: Path, number: int, to_shard: bool) -> tuple[PreTrainedModel, Encoder]:
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
    model, encoder = load_initial(recipe, folder, to_shard)
    torch.manual_seed(recipe.seed + number)  # a resumed stage gets the same initial heads or adapters
    return model, encoder


class _StageModel:
    """The model of a stage.

    model: the complete one; after the stage, only in the main process if it is sharded.
    trained: `model`, the same under an adapter, or its vision tower under the heads of the probe.
    """

    def __init__(self, recipe: Recipe, out: Path, number: int) -> None:
        self.recipe, self.out, self.number = recipe, out, number
        self.stage = recipe.stages[number]
        self.trained = placed(self._prepare(to_shard=True), recipe)

    def _prepare(self, to_shard: bool = False) -> Any:
        """Loads `model` and returns what the stage trains of it."""
        self.model, self.encoder = _initial_model(self.recipe, self.out, self.number, to_shard)
        if self.stage.objective == "causal_lm":
            return trainable(self.model, self.recipe.model, self.stage.gradient_checkpointing)
        visual = self.model.model.visual
        if self.stage.gradient_checkpointing:
            checkpoint_activations(visual)
        return probe(visual, self.model.config.text_config.hidden_size)

    def finish(self) -> None:
        """Merges the adapter, and gathers the parameters if they are sharded."""
        self.trained = restored(self.trained, self._prepare)
        if self.trained and self.recipe.model.lora and self.stage.objective == "causal_lm":
            self.trained.merge_and_unload()


def _run_stage(model: _StageModel, folder: Path) -> None:
    recipe, stage = model.recipe, model.stage
    task = _Task(recipe, stage, model.trained, *_data(model))
    tensorboard = model.out / "tensorboard" / stage.name
    log = RunLog(model.out, stage.name, tensorboard, recipe.report_to, every=min(20, stage.num_steps))
    run_steps(task, stage, folder, log, recipe.seed + model.number)
    model.finish()


def _data(model: _StageModel) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """Returns the rows or clips of a stage, in order, and the function that makes a batch of some."""
    recipe, stage, encoder = model.recipe, model.stage, model.encoder
    offset = recipe.clip_offset + model.number * STAGE_STRIDE
    length = stage.num_steps * stage.batch_size * stage.gradient_accumulation_steps
    view = resolve_view(run_view(recipe), model.model, encoder)
    if stage.objective == "vision_probe":
        return VisionProbeData(encoder, view, offset, length), collate_cells
    cot = open_cot_set(recipe.cot_set, view) if recipe.cot_set and stage.reads_cot_set else None
    mixture = Mixture(
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
    return mixture, partial(collate, pad_id=encoder.pad_id)


class _Task:
    """The data and the loss of a stage; a `training.loop.run.Task`."""

    informative = True

    def __init__(self, recipe: Recipe, stage: Stage, model: Any, data: Any, make_batch: Callable[[Any], Any]) -> None:
        self.recipe, self.stage, self.model = recipe, stage, model
        self.data, self.make_batch = data, make_batch
        self.accumulated = distributed.per_process(stage.gradient_accumulation_steps, "gradient_accumulation_steps")
        self._batches: Iterator[dict[str, Any]] = iter(())
        self._labels = 0.0

    def micro_batches(self, step: int) -> list[dict[str, Any]]:
        """Returns the next batches; the first call says at which step they begin."""
        batches = list(islice(self._batches, self.accumulated))
        if not batches:
            self._batches = iter(self._loader(step))
            batches = list(islice(self._batches, self.accumulated))
        if self.stage.objective == "causal_lm":
            counts = distributed.all_gather(sum(int((batch["labels"] != IGNORED).sum()) for batch in batches))
            self._labels = sum(counts) / len(counts)
        return batches

    def _loader(self, step: int) -> DataLoader:
        """Loads this process's part of the batches of each step from `step` on."""
        from torch.utils.data import DataLoader

        size, workers = self.stage.batch_size, self.stage.dataloader_num_workers
        first = step * self.stage.gradient_accumulation_steps + distributed.rank()
        starts = range(first * size, len(self.data), distributed.world_size() * size)
        batches = [list(range(start, start + size)) for start in starts]
        return DataLoader(self.data, batch_sampler=batches, collate_fn=self.make_batch, num_workers=workers)

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Returns the mean over all labels of a step, or over its micro-batches of the vision probe."""
        inputs = to_device(batch)
        with autocast(distributed.device(), autocasts(self.recipe)):
            if self.stage.objective == "vision_probe":
                return self.model(**inputs)["loss"] / self.accumulated
            return causal_lm_loss(self.model, inputs, self._labels)

    def metrics(self) -> dict[str, float]:
        return {}
