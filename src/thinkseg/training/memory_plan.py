"""Estimates the memory of a training run from its recipe and the model's configuration, without loading weights.

Parameters, gradients and optimizer states are exact. Activations and KV cache follow from the sizes of rows, which are
estimates (`training.row_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from thinkseg import console
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import COORDINATES
from thinkseg.storage.settings_file import read_content
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.log_probs import logits_chunk_tokens
from thinkseg.training.model_stats import ModelStats, TowerStats, created_model_stats, model_stats
from thinkseg.training.recipes import ModelRecipe
from thinkseg.training.row_sizes import RowSize, cache_tokens, group_row, longest_row, prefills, turn_sizes
from thinkseg.training.sft.recipe import Recipe, Stage, load_recipe
from thinkseg.training.sft.vision_probe import FRAMES_PER_CLIP
from thinkseg.training.trainer import check_sizes
from thinkseg.types import View

AnyRecipe = Recipe | GrpoRecipe


class Kept(NamedTuple):
    """Bytes per token that a forward pass keeps for the backward pass.

    width, inner: of one layer, per channel of its width and of its feed-forward block. Measured as the tensors that
    autograd saves in a layer of Qwen2.5-VL (transformers 5.23, SDPA).
    stream: per channel between two layers; what gradient checkpointing keeps per layer.
    """

    width: int
    inner: int
    stream: int


FP32, AUTOCAST, BF16 = Kept(52, 16, 4), Kept(38, 8, 4), Kept(30, 8, 2)
"""In fp32; in bf16 by autocast, with weights in fp32; with weights in bf16, as with LoRA or sharding."""

STREAM = 4
"""Bytes per token and channel between two layers of a forward pass without gradients, at most."""

LOGIT = 16
"""Bytes per logit of one chunk: fp32 logits, log-probabilities and the gradients of both."""

DEVICES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class ModelStates:
    """Bytes of a model in training.

    trainable: number of trainable parameters per part. reference: bytes of the frozen reference policy of the KL term.
    """

    trainable: Mapping[str, int]
    weights: int
    gradients: int
    optimizer: int
    reference: int = 0


@dataclass(frozen=True, slots=True)
class Sharding:
    """What full sharding adds on each device; see `training.loop.sharding`.

    update: bytes of the parameters that are gathered at the same time in an update, and of their gradients.
    rollouts: bytes of all parameters, which stay gathered during rollouts.
    cpu_offload: whether states are in the memory of the CPU.
    """

    update: int
    rollouts: int
    cpu_offload: bool = False

    def part(self, devices: int) -> float:
        """The part of the states on each of so many devices."""
        return 0.0 if self.cpu_offload else 1 / devices


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of one stage.

    row: the longest row. rows: rows per micro-batch. activations: of an update with one micro-batch.
    kv_cache, prefill: of the rollouts; both are freed before the update.
    sharding: None if each device holds the states. loaded: of the whole model in the memory of a CPU.
    """

    name: str
    row: RowSize
    rows: int
    states: ModelStates
    activations: int
    kv_cache: int = 0
    prefill: int = 0
    sharding: Sharding | None = None
    loaded: int = 0

    def per_device(self, devices: int = 1) -> float:
        """Peak bytes per device, if so many devices train together."""
        return max(self.update_bytes(devices), self.rollout_bytes(devices))

    def update_bytes(self, devices: int = 1) -> float:
        """Peak bytes per device during the update."""
        gathered = self.sharding.update if self.sharding else 0
        return self._held(devices) + self.part(devices) * self.states.gradients + self.activations + gathered

    def rollout_bytes(self, devices: int = 1) -> float:
        """Peak bytes per device during the rollouts, if there are any."""
        gathered = self.sharding.rollouts if self.sharding and self.kv_cache else 0
        return self._held(devices) + self.kv_cache + self.prefill + gathered

    def part(self, devices: int) -> float:
        """The part of the states on each of so many devices."""
        return self.sharding.part(devices) if self.sharding else 1.0

    def per_node(self, devices: int = 1) -> float:
        """Peak bytes of the CPU's memory if so many devices are in one node, without pages of the files of weights.

        They are of the model that each process loads; with sharding, of the trained parameters that are gathered at the
        end, and of a model that takes them.
        """
        if not self.sharding:
            return devices * self.loaded
        states = self.states
        offloaded = states.weights + states.gradients + states.optimizer + states.reference
        return (offloaded if self.sharding.cpu_offload else 0) + states.gradients + self.loaded

    def _held(self, devices: int) -> float:
        """Bytes of the states that exist all the time."""
        return self.part(devices) * (self.states.weights + self.states.optimizer + self.states.reference)


# ---- plans of a recipe


def load(path: str | Path, model: str | None = None, *overrides: Mapping[str, Any]) -> AnyRecipe:
    """Reads a recipe for `sft` or `grpo`, with some of its fields overridden. Raises SettingsError.

    model: folder or hub name (default: the recipe's).
    """
    content = read_content(path)
    if model:
        overrides = (*overrides, {"model": {"name": model, "create": None}})
    is_sft = isinstance(content, Mapping) and "stages" in content
    return load_recipe(path, *overrides) if is_sft else load_grpo_recipe(path, *overrides)


def stats_of(source: ModelRecipe) -> ModelStats:
    """Returns the stats of a recipe's model. Raises ModelError if the model is unknown."""
    return created_model_stats(source.create) if source.create else model_stats(resolve_model(str(source.name)))


def plan(recipe: AnyRecipe, model: ModelStats, devices: int = 1) -> list[MemoryPlan]:
    """Estimates the memory of each stage, in order. Raises SettingsError for frame sizes the model does not support.

    devices: number of those that share the prompts of a step.
    """
    check_sizes(recipe.view, model.patch * model.merge)
    view = replace(recipe.view, coordinates=COORDINATES[model.model_type])
    if isinstance(recipe, GrpoRecipe):
        prompts = math.ceil(recipe.prompts_per_step / devices)
        return [_grpo(recipe.model_copy(update={"prompts_per_step": prompts}), model, view)]
    planners = {"vision_probe": _vision_stage, "causal_lm": _language_stage}
    return [planners[stage.objective](recipe, stage, model, view) for stage in recipe.stages]


def _vision_stage(recipe: Recipe, stage: Stage, model: ModelStats, view: View) -> MemoryPlan:
    """A stage that trains the vision tower; the language model is not on the device."""
    bf16, tower = _is_bf16(recipe), model.vision
    patches = FRAMES_PER_CLIP * model.patches(view.frame_wh)
    row = RowSize(patches // model.merge**2, patches)
    sharding = _sharding(recipe, model)
    trained = {"vision": tower.params}
    states = _full_states(trained, tower.params, tower.matrix_params, stage.optimizer, bf16, bool(sharding))
    kept = activations(tower, stage.batch_size * patches, _kept(recipe), stage.gradient_checkpointing)
    return MemoryPlan(stage.name, row, stage.batch_size, states, kept, sharding=sharding, loaded=_loaded(recipe, model))


def _language_stage(recipe: Recipe, stage: Stage, model: ModelStats, view: View) -> MemoryPlan:
    bf16, row, sharding = _is_bf16(recipe), longest_row(stage, model, view, recipe.cot_set), _sharding(recipe, model)
    states = model_states(model, recipe.model, stage.optimizer, bf16, bool(sharding))
    trains_vision = "vision" in states.trainable
    kept = _update(model, row, stage.batch_size, _kept(recipe), stage.gradient_checkpointing, trains_vision)
    if not trains_vision:
        kept += inference_bytes(model.vision, stage.batch_size * row.patches, bf16)
    return MemoryPlan(stage.name, row, stage.batch_size, states, kept, sharding=sharding, loaded=_loaded(recipe, model))


def _grpo(recipe: GrpoRecipe, model: ModelStats, view: View) -> MemoryPlan:
    """A GRPO run. Its micro-batch is one group. The features of a frozen vision tower are cached from the rollouts.

    Rollouts of vLLM servers take no memory of the training's devices.
    """
    bf16, turns, sharding = _is_bf16(recipe), turn_sizes(recipe.chain, view, model), _sharding(recipe, model)
    row = group_row(turns, recipe)
    states = model_states(model, recipe.model, recipe.optimizer, bf16, bool(sharding))
    if recipe.beta and not recipe.model.lora:
        states = replace(states, reference=(2 if bf16 and sharding else 4) * model.params)
    kept = _update(model, row, 1, _kept(recipe), recipe.gradient_checkpointing, recipe.model.train_vision)
    if recipe.vllm:
        return MemoryPlan("grpo", row, 1, states, kept, sharding=sharding, loaded=_loaded(recipe, model))
    cache = cache_tokens(recipe, turns) * model.kv_per_token * (2 if bf16 else 4)
    prefill = _prefill(model, prefills(recipe, turns), bf16)
    return MemoryPlan("grpo", row, 1, states, kept, cache, prefill, sharding, _loaded(recipe, model))


def _kept(recipe: AnyRecipe) -> Kept:
    if not _is_bf16(recipe):
        return FP32
    return BF16 if recipe.model.lora or recipe.sharding == "full" else AUTOCAST


def _loaded(recipe: AnyRecipe, model: ModelStats) -> int:
    """With LoRA, the weights are loaded in bf16."""
    return (2 if recipe.model.lora and _is_bf16(recipe) else 4) * model.params


def _is_bf16(recipe: AnyRecipe) -> bool:
    return recipe.precision != "fp32"


def _sharding(recipe: AnyRecipe, model: ModelStats) -> Sharding | None:
    """Gathered are the embeddings, one layer and the next. Gradients of a layer are copied to fp32 to be reduced."""
    if recipe.sharding == "none":
        return None
    itemsize = 2 if _is_bf16(recipe) else 4
    layer = max(tower.params // tower.layers for tower in (model.language, model.vision))
    gathered = itemsize * (model.embedding_params + 2 * layer)
    gradients = 0 if recipe.model.lora else itemsize * model.embedding_params + (itemsize + 4) * layer
    return Sharding(gathered + gradients, itemsize * model.params, recipe.cpu_offload)


# ---- bytes of a model


def model_states(
    model: ModelStats, source: ModelRecipe, optimizer: str, bf16: bool, sharded: bool = False
) -> ModelStates:
    """Bytes of a model whose language model is trained, completely or with LoRA."""
    if source.lora:
        adapter = source.lora.rank * model.lora_width
        weights = (2 if bf16 else 4) * model.params + 4 * adapter
        return ModelStates({"LoRA": adapter}, weights, 4 * adapter, optimizer_bytes(adapter, adapter, optimizer))
    trainable = {"language": model.language.params, "embeddings": model.embedding_params}
    matrices = model.language.matrix_params
    if source.create or source.train_vision:
        trainable["vision"] = model.vision.params
        matrices += model.vision.matrix_params
    return _full_states(trainable, model.params, matrices, optimizer, bf16, sharded)


def _full_states(
    trainable: Mapping[str, int], params: int, matrices: int, optimizer: str, bf16: bool, sharded: bool
) -> ModelStates:
    trained = sum(trainable.values())
    weights = 4 * params
    if bf16:  # frozen weights are sharded in bf16; autocast keeps bf16 copies of trained ones for the backward pass
        weights += -2 * (params - trained) if sharded else 2 * trained
    return ModelStates(trainable, weights, 4 * trained, optimizer_bytes(trained, matrices, optimizer))


def optimizer_bytes(trained: int, matrices: int, name: str) -> int:
    """Bytes of fp32 optimizer states: two numbers per parameter for AdamW, one per parameter of `matrices` for Muon."""
    return 8 * trained - (4 * matrices if name == "muon" else 0)


# ---- bytes of a micro-batch and of rollouts


def activations(tower: TowerStats, tokens: int, kept: Kept, checkpointing: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass.

    With gradient checkpointing, each layer keeps its input only, and one layer at a time is computed again.
    """
    width = max(tower.hidden_size, tower.query_size)
    layer = tokens * (kept.width * width + kept.inner * tower.intermediate_size)
    return layer + tokens * kept.stream * tower.hidden_size * tower.layers if checkpointing else layer * tower.layers


def inference_bytes(tower: TowerStats, tokens: int, bf16: bool) -> int:
    """Peak bytes of a forward pass without gradients.

    They are a layer's input and output, three tensors of its feed-forward block, and four of its attention.
    """
    itemsize = 2 if bf16 else 4
    return tokens * (2 * STREAM * tower.hidden_size + itemsize * (3 * tower.intermediate_size + 4 * tower.query_size))


def _update(model: ModelStats, row: RowSize, rows: int, kept: Kept, checkpointing: bool, trains_vision: bool) -> int:
    """Bytes of activations and logits of one micro-batch."""
    size = activations(model.language, rows * row.tokens, kept, checkpointing)
    if trains_vision:
        size += activations(model.vision, rows * row.patches, kept, checkpointing)
    return size + LOGIT * min(rows * row.labels, logits_chunk_tokens(model.vocab_size)) * model.vocab_size


def _prefill(model: ModelStats, batches: Sequence[RowSize], bf16: bool) -> int:
    """Peak bytes of forward passes without gradients over the batches."""
    return max(
        max(inference_bytes(model.language, batch.tokens, bf16), inference_bytes(model.vision, batch.patches, bf16))
        for batch in batches
    )


# ---- the report


def report(recipe: AnyRecipe, model: ModelStats, devices: int = 1) -> str:
    """Formats the plans of a recipe as tables: parameters, micro-batches, memory per part, and memory per device.

    devices: number of those that the memory per part is for.
    """
    plans = plan(recipe, model, devices)
    tables = _parameters(model, plans), _micro_batches(plans), _memory(plans, devices), _devices(recipe, model)
    node = max(one.per_node(devices) for one in plans)
    return "\n\n".join([*tables, f"CPU memory of a node (devices: {devices}): {_bytes(node)}"])


def _parameters(model: ModelStats, plans: Sequence[MemoryPlan]) -> str:
    parts = {"vision": model.vision.params, "language": model.language.params, "embeddings": model.embedding_params}
    rows = [(part, params, [plan.states.trainable.get(part, 0) for plan in plans]) for part, params in parts.items()]
    adapters = [plan.states.trainable.get("LoRA", 0) for plan in plans]
    if any(adapters):
        rows.append(("LoRA adapter", 0, adapters))
    rows.append(("total", model.params, [sum(plan.states.trainable.values()) for plan in plans]))
    columns = ("parameters", model.model_type, *(f"trainable in {plan.name}" for plan in plans))
    return _table(columns, [(part, _count(params), *map(_count, trained)) for part, params, trained in rows])


def _micro_batches(plans: Sequence[MemoryPlan]) -> str:
    rows = [
        ("rows", *(str(plan.rows) for plan in plans)),
        ("tokens per row", *(f"{plan.row.tokens:,}" for plan in plans)),
        ("patches per row", *(f"{plan.row.patches:,}" for plan in plans)),
    ]
    return _table(("micro-batch", *(plan.name for plan in plans)), rows)


def _memory(plans: Sequence[MemoryPlan], devices: int) -> str:
    parts: dict[str, Callable[[MemoryPlan], float]] = {
        "weights": lambda plan: plan.part(devices) * plan.states.weights,
        "gradients": lambda plan: plan.part(devices) * plan.states.gradients,
        "optimizer states": lambda plan: plan.part(devices) * plan.states.optimizer,
        "reference of the KL term": lambda plan: plan.part(devices) * plan.states.reference,
        "gathered in the update": lambda plan: plan.sharding.update if plan.sharding else 0,
        "gathered in rollouts": lambda plan: plan.sharding.rollouts if plan.sharding and plan.kv_cache else 0,
        "activations of a micro-batch": lambda plan: plan.activations,
        "KV cache of rollouts": lambda plan: plan.kv_cache,
        "prefill of rollouts": lambda plan: plan.prefill,
        "total per device, at the peak": lambda plan: plan.per_device(devices),
    }
    sizes = {part: [size(plan) for plan in plans] for part, size in parts.items()}
    rows = [(part, *map(_bytes, row)) for part, row in sizes.items() if any(row)]
    name = "memory" if devices == 1 else f"memory on each of {devices} devices"
    return _table((name, *(plan.name for plan in plans)), rows)


def _devices(recipe: AnyRecipe, model: ModelStats) -> str:
    """Memory per device of the largest stage, for each kind of sharding."""

    def largest(sharding: str, devices: int) -> float:
        plans = plan(recipe.model_copy(update={"sharding": sharding}), model, devices)
        return max(one.per_device(devices) for one in plans)

    rows = [(kind, *(_bytes(largest(kind, number)) for number in DEVICES)) for kind in ("none", "full")]
    columns = (f"{number} device{'s' if number > 1 else ''}" for number in DEVICES)
    return _table(("sharding", *columns), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return console.table(columns, rows, numbers=range(1, len(columns)))


def _count(params: int) -> str:
    if params >= 1e9:
        return f"{params / 1e9:.2f} B"
    return f"{params / 1e6:.2f} M" if params else "-"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
