"""The file of an ablation: its variants, how each is trained, and what all are scored on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.errors import SettingsError
from thinkseg.selection.files import restricted
from thinkseg.storage.settings_file import FROM_LIST, Settings, read_content, read_yaml
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.recipes import (
    ChainName,
    Count,
    DataSource,
    FolderName,
    PromptsPath,
    SizeWh,
    check_names,
)
from thinkseg.training.sft.recipe import Recipe, load_recipe

Method = Literal["sft", "grpo"]
"""Training methods, named as their commands."""

AnyRecipe = Recipe | GrpoRecipe

RECIPES: dict[Method, Callable[..., AnyRecipe]] = {"sft": load_recipe, "grpo": load_grpo_recipe}
"""Functions that read the recipes of a method."""

SHAPES_LIMIT = 300
"""Default number of samples of shapes, which have no end."""


class Training(Settings):
    """One training run.

    recipe: relative to the file of the ablation. overrides: fields of the recipe, see `storage.settings_file.merged`.
    """

    method: Method
    recipe: str
    overrides: Mapping[str, Any] = Field(default_factory=dict)


class Variant(Settings):
    """One row of the table.

    name: of its folder. paper: the paper's values for it. runs: trained in order, each from the policy of the last.
    init_policy: initial policy of the first run, unless its recipe creates a model (default: the table's).
    chain, num_frames: to score it (default: the table's).
    """

    name: FolderName
    title: str
    runs: Annotated[tuple[Training, ...], FROM_LIST] = ()
    init_policy: str | None = None
    paper: Annotated[tuple[float, ...], FROM_LIST] = ()
    chain: ChainName | None = None
    num_frames: Count | None = None


class ScoredData(DataSource):
    """What variants are scored on.

    limit: number of expressions, evenly spaced over those of a benchmark (default: 300 of shapes, all of a benchmark).
    """

    limit: Count | None = None

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if self.limit and self.name == "refdavis":
            raise ValueError("`limit`: the objects of a video are scored together; drop it")
        return self

    def open(self) -> Benchmark:
        """Opens the part of the benchmark. Raises as `DataSource.open` does."""
        benchmark = super().open()
        keys = [expression.key for expression in benchmark.expressions]
        if not self.limit or self.limit >= len(keys):
            return benchmark
        return restricted(benchmark, {keys[i * len(keys) // self.limit] for i in range(self.limit)})

    def _loader_options(self) -> Mapping[str, Any]:
        if self.name != "shapes":
            return {}
        limit = self.limit or SHAPES_LIMIT
        return {"start": self.clip_offset, "limit": limit, "category_weights": dict(self.category_weights)}


class Ablation(Settings):
    """A table of variants.

    columns: of the paper's values. data: what the variants are scored on.
    metrics: first columns of measured values, "GROUP/METRIC" of scores.json; the last one is compared with the first
        row (default: `training.ablation.table.HEADLINES`).
    init_policy: see `Variant`. chain, tracker: to score them. batch_size: expressions that are answered together.
    max_new_tokens: per reply (default: the policy's own).
    num_frames, frame_wh, closeup_wh, prompts: shown to a policy, see `training.recipes.RunRecipe` (default: its own).
    overrides: fields of all recipes of a method, which replace those of the variants.
    """

    title: str
    columns: Annotated[tuple[str, ...], FROM_LIST]
    rows: Annotated[tuple[Variant, ...], FROM_LIST]
    data: ScoredData = ScoredData(name="shapes")
    metrics: Annotated[tuple[str, ...], FROM_LIST] = ()
    init_policy: str = "shapes"
    chain: ChainName = "veason"
    tracker: str = "flow"
    batch_size: Count = 32
    max_new_tokens: Count | None = None
    num_frames: Count | None = None
    frame_wh: SizeWh | None = None
    closeup_wh: SizeWh | None = None
    prompts: PromptsPath | None = None
    overrides: Mapping[Method, Mapping[str, Any]] = Field(default_factory=dict)

    @field_validator("rows")
    @classmethod
    def _check_rows(cls, rows: tuple[Variant, ...]) -> tuple[Variant, ...]:
        check_names([row.name for row in rows])
        return rows

    @model_validator(mode="after")
    def _check_paper(self) -> Self:
        for row in self.rows:
            if len(row.paper) not in (0, len(self.columns)):
                raise ValueError(f"rows.{row.name}.paper: must have one value per column; got {len(row.paper)}")
        return self

    def initial(self, row: Variant) -> str:
        """Returns the initial policy of a row."""
        return row.init_policy or self.init_policy


def load_ablation(path: str | Path, *overrides: Mapping[str, Any]) -> Ablation:
    """Reads and checks the file, with some of its fields overridden, and all recipes it names. Raises SettingsError."""
    ablation = read_yaml(Ablation, path, *overrides)
    for row in ablation.rows:
        recipes_of(ablation, row, Path(path))
    return ablation


def recipes_of(ablation: Ablation, row: Variant, path: Path) -> Sequence[AnyRecipe]:
    """Reads the recipes of a row; all start from its initial policy. Raises SettingsError."""
    return [recipe_of(ablation, training, path, ablation.initial(row)) for training in row.runs]


def recipe_of(ablation: Ablation, training: Training, path: Path, init_policy: str) -> AnyRecipe:
    """Reads the recipe of a run that starts from a policy. path: of the ablation's file. Raises SettingsError."""
    source = path.parent / training.recipe
    overrides = training.overrides, ablation.overrides.get(training.method, {})
    try:
        model = read_content(source, *overrides).get("model")
        # A recipe that creates its model starts from scratch, all others from the given policy.
        creates = isinstance(model, Mapping) and model.get("create")
        start = {} if creates else {"model": {"name": init_policy}}
        return RECIPES[training.method](source, *overrides, start)
    except SettingsError as error:
        raise SettingsError(f"{path}: runs: {error}") from None
