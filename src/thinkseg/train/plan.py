"""What a training run will take, told before it is started: a recipe in, tokens, memory and hours out.

Only the model's configuration is needed, not its weights. Sizes of frames, of the model and of what the optimizer holds
are exact; the rest is an estimate: texts are reckoned by their letters, replies of a reinforcement run as long as they
may become, and time by `train.costs`. Reading videos, rewards and tracking are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from thinkseg import tables
from thinkseg.errors import SettingsError
from thinkseg.models import place_of
from thinkseg.models.qwen import COORDINATES
from thinkseg.train.anatomy import Anatomy, anatomy, anatomy_of_created
from thinkseg.train.costs import STREAMED, UTILISED
from thinkseg.train.gpus import GPUS, Gpu
from thinkseg.train.grpo_recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.train.jobs import Job
from thinkseg.train.jobs_grpo import reinforcement
from thinkseg.train.jobs_sft import seeing, words
from thinkseg.train.recipe import Lora, ModelRecipe, Recipe, load_recipe
from thinkseg.train.yamlfile import read_content

AnyRecipe = Recipe | GrpoRecipe

USABLE = 0.9
"""Share of a GPU's memory that tensors can have; CUDA itself and the gaps between tensors take the rest."""


def load(path: Path, model: str | None = None) -> AnyRecipe:
    """A recipe for either way of training. model: a folder or hub name to take instead. Raises SettingsError."""
    content = read_content(path)
    supervised = isinstance(content, Mapping) and "stages" in content
    changes = {"model": {"name": model, "create": None}} if model else None
    return load_recipe(path, changes) if supervised else load_grpo_recipe(path, changes)


def plan(recipe: AnyRecipe) -> list[Job]:
    """The jobs of a recipe, in order. Raises SettingsError for frames the model cannot see, ModelError for no model."""
    return _jobs(recipe, described(recipe.model))


def described(model: ModelRecipe) -> Anatomy:
    """The model of a recipe."""
    if model.create:
        return anatomy_of_created(model.create)
    return anatomy(place_of(str(model.name)))


def _jobs(recipe: AnyRecipe, model: Anatomy) -> list[Job]:
    side = model.patch * model.merge
    for name, size_wh in (("frame_wh", recipe.frame_wh), ("closeup_wh", recipe.closeup_wh or ())):
        if any(length % side for length in size_wh):
            raise SettingsError(f"{name}: {list(size_wh)} are not multiples of {side}, as the model needs")
    view = replace(recipe.view, coordinates=COORDINATES[model.kind])
    if isinstance(recipe, GrpoRecipe):
        return [reinforcement(recipe, model, view)]
    makers = {"patches": seeing, "words": words}
    return [makers[stage.objective](recipe, stage, model, view) for stage in recipe.stages]


def check_fits(recipe: AnyRecipe, gpu: Gpu) -> None:
    """Raises SettingsError for a run that needs more memory than a GPU has, and says which settings would mend it."""
    model = described(recipe.model)
    most = _peak(recipe, model)
    if _fits(most, gpu):
        return
    raise SettingsError(
        f"too large for {gpu.title}: the run needs {_bytes(most)}, and tensors can have {USABLE * gpu.gb:g} of its "
        f"{gpu.gb:g} GB: {_advice(recipe, model, gpu)}"
    )


def _peak(recipe: AnyRecipe, model: Anatomy) -> float:
    return max(job.peak for job in _jobs(recipe, model))


def _fits(peak: float, gpu: Gpu) -> bool:
    return peak <= USABLE * gpu.gb * 1e9


def _advice(recipe: AnyRecipe, model: Anatomy, gpu: Gpu) -> str:
    """Settings that make a run fit, none of which can be done without: the mildest that do."""

    def fits(chosen: Sequence[Remedy]) -> bool:
        changed = recipe
        for _, change in chosen:
            changed = change(changed)
        return _fits(_peak(changed, model), gpu)

    chosen: list[Remedy] = []
    for remedy in _remedies(recipe):
        chosen.append(remedy)
        if fits(chosen):
            for other in chosen[:-1]:
                without = [one for one in chosen if one is not other]
                chosen = without if fits(without) else chosen
            return f"set {' and '.join(setting for setting, _ in chosen)}"
    return "take a smaller model, or a larger GPU"


Remedy = tuple[str, Callable[[Any], AnyRecipe]]
"""A setting as a recipe writes it, and what it does to one."""


def _remedies(recipe: AnyRecipe) -> Iterator[Remedy]:
    """What saves memory, mildest first: the first two change no result."""
    yield "gradient_checkpointing: true", _checkpointed
    if isinstance(recipe, GrpoRecipe):
        yield "tokens_at_once: 20_000", lambda r: replace(r, tokens_at_once=min(20_000, r.tokens_at_once))
    else:
        yield "batch: 1, with as much more `accumulate`", _batched_by_one
    if not recipe.model.create and not recipe.model.lora:
        lora = replace(recipe.model, lora=Lora(), train_vision=False)
        yield f"model.lora: {{rank: {Lora().rank}}}", lambda r: replace(r, model=lora)
    if isinstance(recipe, GrpoRecipe):
        tokens = max(1, recipe.max_new_tokens // 2)
        yield f"max_new_tokens: {tokens}", lambda r: replace(r, max_new_tokens=tokens)
    frames = max(1, recipe.num_frames // 2)
    yield f"num_frames: {frames}", lambda r: replace(r, num_frames=frames)


def _checkpointed(recipe: AnyRecipe) -> AnyRecipe:
    if isinstance(recipe, GrpoRecipe):
        return replace(recipe, gradient_checkpointing=True)
    return replace(recipe, stages=tuple(replace(stage, gradient_checkpointing=True) for stage in recipe.stages))


def _batched_by_one(recipe: Recipe) -> Recipe:
    stages = (replace(stage, batch=1, accumulate=stage.batch * stage.accumulate) for stage in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def told(recipe: AnyRecipe) -> str:
    """The plan of a recipe to read: its model, what each job takes, and how long on each kind of GPU."""
    model = described(recipe.model)
    jobs = _jobs(recipe, model)
    halves = (
        f"{_count(model.vision.weights)} see, {_count(model.language.weights)} read, {_count(model.ends)} are words"
    )
    parts = [f"{model.kind} of {_count(model.weights)} weights: {halves}"]
    for job in jobs:
        parts += [_summary(job), _memory(job)]
    return "\n\n".join([*parts, _times(jobs)])


def _summary(job: Job) -> str:
    return (
        f"{job.name}: {job.steps:,} steps of {job.rows:,} prompts, {job.steps * job.rows:,} in all\n"
        f"  a prompt has about {job.prompt_tokens:,} tokens, and with {job.row} a row of {job.row_tokens:,}: "
        f"at most {job.step_tokens:,} a step"
    )


def _memory(job: Job) -> str:
    lines = [(name, "always", _bytes(size)) for name, size in job.held.items()]
    lines += [(name, phase, _bytes(size)) for phase, parts in job.phases.items() for name, size in parts.items()]
    lines.append(("at most at a time", "", _bytes(job.peak)))
    return tables.table(("memory", "in phase", "size"), lines, numbers={2})


def _times(jobs: Sequence[Job]) -> str:
    most = max(job.peak for job in jobs)
    lines = []
    for gpu in GPUS.values():
        seconds = [job.step_seconds(gpu) for job in jobs]
        hours = sum(job.steps * each for job, each in zip(jobs, seconds, strict=True)) / 3600
        each = " + ".join(_round(one) for one in seconds)
        lines.append((gpu.title, f"{gpu.gb:g}", "yes" if _fits(most, gpu) else "no", each, _round(hours)))
    table = tables.table(("GPU", "GB", "fits", "seconds a step", "hours"), lines, numbers={1, 3, 4})
    return (
        f"{table}\nreckoned with {UTILISED:.0%} of the peak operations and {STREAMED:.0%} of the peak bytes a second, "
        "without reading videos, rewards and tracking"
    )


def _round(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _count(weights: int) -> str:
    return f"{weights / 1e9:.2f} thousand million" if weights >= 1e9 else f"{weights / 1e6:.2f} million"
