"""What an ablation reads, checked before its first run, so that no later run ends with an error of the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr

from thinkseg.data import check_not_empty
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.demonstrations import open_cot_set
from thinkseg.errors import SettingsError
from thinkseg.evaluation.protocols import metric_names
from thinkseg.models import check_tracker, clock_of
from thinkseg.training.ablation.recipe import Ablation, AnyRecipe, Variant, recipes_of
from thinkseg.training.ablation.table import headlines
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.trainer import run_view
from thinkseg.types import Clock

CLOSEST = 5
"""Metrics that an error suggests."""


def check_inputs(ablation: Ablation, benchmark: Benchmark, path: Path) -> None:
    """Checks the data, sets, selections, initial policies and names that the runs and scores of a table need.

    benchmark: what all rows are scored on. path: of the ablation's file. Loads no weights.
    Raises DatasetError, ModelError and SettingsError.
    """
    _check_scorable(benchmark, headlines(ablation))
    check_tracker(ablation.tracker)
    times = benchmark.times()
    checked: set[tuple[object, ...]] = set()
    for row in ablation.rows:
        recipes = recipes_of(ablation, row, path)
        clock = _clock(ablation, row, recipes)
        times.check(clock)
        for recipe in recipes:
            key = (_data_of(recipe), recipe.num_frames, clock)
            if key not in checked:
                _check_data(recipe, clock)
            checked.add(key)


def _check_scorable(benchmark: Benchmark, names: Sequence[str]) -> None:
    check_not_empty(benchmark)
    if all(expression.objects is None for expression in benchmark.expressions):
        raise SettingsError(f"data: {benchmark.name} {benchmark.split} has no ground truth; choose another split")
    known = metric_names(benchmark)
    for name in names:
        if name not in known:
            closest = ", ".join(get_close_matches(name, known, CLOSEST, 0))
            raise SettingsError(
                f"metrics: {benchmark.name} has no metric {repr(name)}; choose others, such as {closest}"
            )


def _clock(ablation: Ablation, row: Variant, recipes: Sequence[AnyRecipe]) -> Clock:
    """Returns the labels of frames that the policies of a row are trained with and scored with."""
    return run_view(recipes[0]).label_unit if recipes else clock_of(ablation.initial(row))


def _data_of(recipe: AnyRecipe) -> str:
    return repr(recipe.data if isinstance(recipe, GrpoRecipe) else recipe.cot_set)


def _check_data(recipe: AnyRecipe, clock: Clock) -> None:
    view = replace(recipe.view, label_unit=clock)
    if isinstance(recipe, GrpoRecipe):
        PromptDataset(recipe.data, recipe.num_frames, recipe.seed).check_times(view)
    elif recipe.cot_set:
        open_cot_set(recipe.cot_set, view, any_coordinates=True)
