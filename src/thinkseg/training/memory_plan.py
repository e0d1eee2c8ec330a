"""Memory of a training run, from its recipe and the model's configuration; no weights are loaded.

Parameters, gradients and optimizer states are exact. Activations and KV cache follow from the sizes of rows, which are
estimates (`training.row_sizes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from thinkseg import console
from thinkseg.errors import SettingsError
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import COORDINATES
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.log_probs import tokens_at_once
from thinkseg.training.model_stats import ModelStats, TowerStats, created_model_stats, model_stats
from thinkseg.training.recipes import ModelRecipe, read_content
from thinkseg.training.row_sizes import RowSize, cache_tokens, group_row, longest_row, prefills, turn_sizes
from thinkseg.training.sft.recipe import Recipe, Stage, load_recipe
from thinkseg.training.sft.vision_warmup import FRAMES_A_CLIP
from thinkseg.types import View

AnyRecipe = Recipe | GrpoRecipe

KEPT_FP32, KEPT_BF16 = (52, 16), (38, 8)
"""Bytes per token that one layer keeps for the backward pass: per channel of its width, and per channel inside its
feed-forward block. Counted as the tensors that autograd saves in a layer of Qwen2.5-VL (transformers 5.23, SDPA)."""

STREAM = 4
"""Bytes per token and channel between two layers (fp32): all that gradient checkpointing keeps of a layer."""

LOGIT = 16
"""Bytes per logit of the part that is computed at a time: fp32 logits, log-probabilities and the gradients of both."""

DEVICES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class ModelStates:
    """Bytes of a model in training. trainable: parameters by part.

    reference: the frozen policy that the KL term compares with.
    """

    trainable: Mapping[str, int]
    weights: int
    gradients: int
    optimizer: int
    reference: int = 0


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes that one stage takes on a device.

    row, rows: the longest row, and how many of them make a micro-batch. activations: of an update with one micro-batch.
    kv_cache, prefill: of the rollouts; prefill is a forward pass over the prompts. Both are freed before the update.
    """

    name: str
    row: RowSize
    rows: int
    states: ModelStates
    activations: int
    kv_cache: int = 0
    prefill: int = 0

    def per_device(self, shards: int = 1) -> float:
        """Peak bytes on each device. shards: number of devices that weights, gradients and states are divided among."""
        states = self.states
        update = states.gradients / shards + self.activations
        always = (states.weights + states.optimizer + states.reference) / shards
        return always + max(update, self.kv_cache + self.prefill)


# ---- from a recipe to its plans


def load(path: Path, model: str | None = None) -> AnyRecipe:
    """Reads a recipe for `sft` or `grpo`. model: folder or hub name to use instead of its own. Raises SettingsError."""
    content = read_content(path)
    changes = {"model": {"name": model, "create": None}} if model else None
    supervised = isinstance(content, Mapping) and "stages" in content
    return load_recipe(path, changes) if supervised else load_grpo_recipe(path, changes)


def stats_of(source: ModelRecipe) -> ModelStats:
    """Stats of a recipe's model. Raises ModelError if there is no such model."""
    return created_model_stats(source.create) if source.create else model_stats(resolve_model(str(source.name)))


def plan(recipe: AnyRecipe, model: ModelStats) -> list[MemoryPlan]:
    """Plans of all stages of a recipe, in order. Raises SettingsError for frame sizes that the model cannot take."""
    multiple = model.patch * model.merge
    for name, size_wh in (("frame_wh", recipe.frame_wh), ("closeup_wh", recipe.closeup_wh or ())):
        if any(side % multiple for side in size_wh):
            raise SettingsError(f"{name}: {list(size_wh)} are not multiples of {multiple}; choose sides that are")
    view = replace(recipe.view, coordinates=COORDINATES[model.model_type])
    if isinstance(recipe, GrpoRecipe):
        return [_grpo(recipe, model, view)]
    makers = {"vision_probe": _vision_stage, "causal_lm": _language_stage}
    return [makers[stage.objective](recipe, stage, model, view) for stage in recipe.stages]


def _vision_stage(recipe: Recipe, stage: Stage, model: ModelStats, view: View) -> MemoryPlan:
    """A stage that trains the vision tower, which is on the device without the language model."""
    bf16, tower = _is_bf16(recipe), model.vision
    patches = FRAMES_A_CLIP * model.patches(view.frame_wh)
    row = RowSize(patches // model.merge**2, patches)
    states = _full_states({"vision": tower.params}, tower.params, tower.matrix_params, stage.optimizer, bf16)
    kept = activations(tower, stage.batch_size * patches, bf16, stage.gradient_checkpointing)
    return MemoryPlan(stage.name, row, stage.batch_size, states, kept)


def _language_stage(recipe: Recipe, stage: Stage, model: ModelStats, view: View) -> MemoryPlan:
    bf16, row = _is_bf16(recipe), longest_row(stage, model, view, recipe.cot_set)
    states = model_states(model, recipe.model, stage.optimizer, bf16)
    learns_to_see = "vision" in states.trainable
    kept = _update(model, row, stage.batch_size, bf16, stage.gradient_checkpointing, learns_to_see)
    if not learns_to_see:
        kept += passing(model.vision, stage.batch_size * row.patches, bf16)
    return MemoryPlan(stage.name, row, stage.batch_size, states, kept)


def _grpo(recipe: GrpoRecipe, model: ModelStats, view: View) -> MemoryPlan:
    """A GRPO run. Its micro-batch is one group; features of a frozen vision tower are those of the rollouts."""
    bf16, turns = _is_bf16(recipe), turn_sizes(recipe.chain, view, model)
    row = group_row(turns, recipe)
    states = model_states(model, recipe.model, recipe.optimizer, bf16)
    if recipe.beta and not recipe.model.lora:
        states = replace(states, reference=4 * model.params)
    kept = _update(model, row, 1, bf16, recipe.gradient_checkpointing, recipe.model.train_vision)
    cache = cache_tokens(recipe, turns) * model.kv_per_token * (2 if bf16 else 4)
    return MemoryPlan("grpo", row, 1, states, kept, cache, _prefill(model, prefills(recipe, turns), bf16))


def _is_bf16(recipe: AnyRecipe) -> bool:
    return recipe.precision != "fp32"


# ---- bytes of a model


def model_states(model: ModelStats, source: ModelRecipe, optimizer: str, bf16: bool) -> ModelStates:
    """Bytes of a model whose language part is trained, as a whole or with LoRA."""
    if source.lora:
        adapter = source.lora.rank * model.lora_width
        weights = (2 if bf16 else 4) * model.params + 4 * adapter
        return ModelStates({"LoRA": adapter}, weights, 4 * adapter, optimizer_bytes(adapter, adapter, optimizer))
    trainable = {"language": model.language.params, "embeddings": model.embedding_params}
    matrices = model.language.matrix_params
    if source.create or source.train_vision:
        trainable["vision"] = model.vision.params
        matrices += model.vision.matrix_params
    return _full_states(trainable, model.params, matrices, optimizer, bf16)


def _full_states(trainable: Mapping[str, int], params: int, matrices: int, optimizer: str, bf16: bool) -> ModelStates:
    trained = sum(trainable.values())
    # Autocast keeps bf16 copies of the trained weights from the forward to the backward pass.
    weights = 4 * params + (2 * trained if bf16 else 0)
    return ModelStates(trainable, weights, 4 * trained, optimizer_bytes(trained, matrices, optimizer))


def optimizer_bytes(trained: int, matrices: int, name: str) -> int:
    """Bytes of fp32 optimizer states: AdamW has two numbers per parameter, Muon one for those in matrices of layers."""
    return 8 * trained - (4 * matrices if name == "muon" else 0)


# ---- bytes of a micro-batch and of rollouts


def activations(tower: TowerStats, tokens: int, bf16: bool, checkpointing: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass.

    Every layer keeps its own, or with gradient checkpointing its input, and one layer at a time is computed again.
    """
    per_width, per_inner = KEPT_BF16 if bf16 else KEPT_FP32
    width = max(tower.hidden_size, tower.query_size)
    layer = tokens * (per_width * width + per_inner * tower.intermediate_size)
    return layer + tokens * STREAM * tower.hidden_size * tower.layers if checkpointing else layer * tower.layers


def passing(tower: TowerStats, tokens: int, bf16: bool) -> int:
    """Bytes that a forward pass without gradients needs at a time.

    They are a layer's input and output, three tensors of its feed-forward block, and four of its attention.
    """
    number = 2 if bf16 else 4
    return tokens * (2 * STREAM * tower.hidden_size + number * (3 * tower.intermediate_size + 4 * tower.query_size))


def _update(model: ModelStats, row: RowSize, rows: int, bf16: bool, checkpointing: bool, learns_to_see: bool) -> int:
    """Bytes of activations and logits of one micro-batch."""
    kept = activations(model.language, rows * row.tokens, bf16, checkpointing)
    if learns_to_see:
        kept += activations(model.vision, rows * row.patches, bf16, checkpointing)
    return kept + LOGIT * min(rows * row.labels, tokens_at_once(model.vocab_size)) * model.vocab_size


def _prefill(model: ModelStats, reads: Sequence[RowSize], bf16: bool) -> int:
    """Bytes of the largest of some forward passes without gradients."""
    passes = ((passing(model.language, read.tokens, bf16), passing(model.vision, read.patches, bf16)) for read in reads)
    return max(max(both) for both in passes)


# ---- the report


def report(model: ModelStats, plans: Sequence[MemoryPlan]) -> str:
    """The plans of a recipe as tables: parameters, memory by part, and memory per device on several devices."""
    return "\n\n".join((_parameters(model, plans), _micro_batches(plans), _memory(plans), _devices(plans)))


def _parameters(model: ModelStats, plans: Sequence[MemoryPlan]) -> str:
    parts = {"vision": model.vision.params, "language": model.language.params, "embeddings": model.embedding_params}
    rows = [(part, params, [plan.states.trainable.get(part, 0) for plan in plans]) for part, params in parts.items()]
    adapters = [plan.states.trainable.get("LoRA", 0) for plan in plans]
    if any(adapters):
        rows.append(("LoRA adapter", 0, adapters))
    rows.append(("total", model.params, [sum(plan.states.trainable.values()) for plan in plans]))
    lines = [(part, _count(params), *map(_count, trained)) for part, params, trained in rows]
    heads = ("parameters", model.model_type, *(f"trainable in {plan.name}" for plan in plans))
    return _table(heads, lines)


def _micro_batches(plans: Sequence[MemoryPlan]) -> str:
    lines = [
        ("rows", *(str(plan.rows) for plan in plans)),
        ("tokens per row", *(f"{plan.row.tokens:,}" for plan in plans)),
        ("patches per row", *(f"{plan.row.patches:,}" for plan in plans)),
    ]
    return _table(("micro-batch", *(plan.name for plan in plans)), lines)


def _memory(plans: Sequence[MemoryPlan]) -> str:
    parts: dict[str, Callable[[MemoryPlan], float]] = {
        "weights": lambda plan: plan.states.weights,
        "gradients": lambda plan: plan.states.gradients,
        "optimizer states": lambda plan: plan.states.optimizer,
        "reference of the KL term": lambda plan: plan.states.reference,
        "activations of a micro-batch": lambda plan: plan.activations,
        "KV cache of rollouts": lambda plan: plan.kv_cache,
        "prefill of rollouts": lambda plan: plan.prefill,
        "total per device, at the peak": MemoryPlan.per_device,
    }
    sizes = {part: [size(plan) for plan in plans] for part, size in parts.items()}
    lines = [(part, *map(_bytes, row)) for part, row in sizes.items() if any(row)]
    return _table(("memory", *(plan.name for plan in plans)), lines)


def _devices(plans: Sequence[MemoryPlan]) -> str:
    """Memory per device of the largest stage. Full sharding divides weights, gradients and states among the devices."""
    shards = {"none": [1] * len(DEVICES), "full": DEVICES}
    lines = [
        (sharding, *(_bytes(max(plan.per_device(number) for plan in plans)) for number in numbers))
        for sharding, numbers in shards.items()
    ]
    heads = (f"{number} device{'s' if number > 1 else ''}" for number in DEVICES)
    return _table(("sharding", *heads), lines)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return console.table(heads, lines, numbers=range(1, len(heads)))


def _count(params: int) -> str:
    if params >= 1e9:
        return f"{params / 1e9:.2f} B"
    return f"{params / 1e6:.2f} M" if params else "-"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
