"""Ablations: trains and scores the variants of a file on shapes, and prints a table like the papers'.

    runs/METHOD-DIGEST/       one training run, shared by all variants and tables that start with it
    out/rows/NAME/            the results of one variant
    out/table.txt, .json      the metrics of all variants next to the paper's values

A rerun with the same file and folders resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from thinkseg import console
from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Estimate
from thinkseg.evaluation.comparison import compare
from thinkseg.storage.atomic import replacing
from thinkseg.storage.settings_file import Settings, merged, read_content, read_yaml
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.recipes import FROM_LIST, CategoryWeights, ChainName, Count, FolderName, check_names
from thinkseg.training.sft.recipe import Recipe, load_recipe

Method = Literal["sft", "grpo"]
"""Training methods, named as their commands."""

RECIPES: dict[Method, Callable[[Path, Mapping[str, Any]], Recipe | GrpoRecipe]] = {
    "sft": load_recipe,
    "grpo": load_grpo_recipe,
}
"""Functions that read the recipes of a method."""

METRICS = ("J&F", "R_k", "R_s", "parse rate", "N-acc")
"""Metrics in the table, in percent, over all categories."""

GAIN = "J&F above the first row, points [95 %]"
"""Column of the difference from the first row, with its 95 % interval."""


class Training(Settings):
    """One training run.

    recipe: relative to the file of the ablation. overrides: fields of the recipe, see `training.recipes.merged`.
    """

    method: Method
    recipe: str
    overrides: Mapping[str, Any] = Field(default_factory=dict)


class Variant(Settings):
    """One row of the table.

    name: of its folder. paper: the paper's values for it. runs: trained in order, each from the policy of the last.
    init_policy: initial policy of the first run, unless its recipe creates a model.
    chain: used to score it (default: the table's).
    """

    name: FolderName
    title: str
    runs: Annotated[tuple[Training, ...], FROM_LIST] = ()
    init_policy: str = "shapes"
    paper: Annotated[tuple[float, ...], FROM_LIST] = ()
    chain: ChainName | None = None


class Ablation(Settings):
    """A table of variants that are scored on shapes.

    columns: of the paper's values. limit: number of samples of the split.
    category_weights: of the samples, as in `training.sft.recipe.Stage`.
    """

    title: str
    columns: Annotated[tuple[str, ...], FROM_LIST]
    rows: Annotated[tuple[Variant, ...], FROM_LIST]
    chain: ChainName = "veason"
    split: str = "val"
    limit: Count = 300
    category_weights: CategoryWeights = Field(default_factory=dict)

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


def load_ablation(path: str | Path) -> Ablation:
    """Reads and checks the file and all recipes it names. Raises SettingsError."""
    ablation = read_yaml(Ablation, path)
    for row in ablation.rows:
        for training in row.runs:
            _recipe(training, Path(path), row.init_policy)
    return ablation


def ablate(path: Path, out: Path, runs: Path | None = None, say: Callable[[str], None] = lambda _: None) -> str:
    """Trains and scores all variants, and returns the table.

    runs: folder of the training runs, which tables can share, one after another (default: `out / "runs"`).
    say: called with the name of each step.

    Raises SettingsError as `load_ablation`, and the errors of training and scoring.
    """
    ablation = load_ablation(path)
    rows, runs = out / "rows", runs or out / "runs"
    scored: list[Mapping[str, Estimate]] = []
    gains: list[Estimate] = []
    for row in ablation.rows:
        policy = row.init_policy
        for training in row.runs:
            say(f"{row.title}: {training.method}")
            policy = _trained(training, path, policy, runs)
        say(f"{row.title}: scoring")
        scored.append(_scored(ablation, row, policy, rows / row.name))
        gains.append(_gain(rows / ablation.rows[0].name, rows / row.name))
    text = f"{ablation.title}\n{_table(ablation, scored, gains)}"
    with replacing(out / "table.txt") as file:
        file.write_text(text + "\n", "utf-8")
    values = {
        row.name: {"metrics": {name: asdict(one) for name, one in metrics.items()}, "paper": row.paper}
        | {"gain": asdict(gain)}
        for row, metrics, gain in zip(ablation.rows, scored, gains, strict=True)
    }
    with replacing(out / "table.json") as file:
        file.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return text


def _recipe(training: Training, path: Path, init_policy: str) -> Recipe | GrpoRecipe:
    source = path.parent / training.recipe
    try:
        model = read_content(source, training.overrides).get("model")
        # A recipe that creates its model starts from scratch, all others from the given policy.
        creates = isinstance(model, Mapping) and model.get("create")
        start = {} if creates else {"model": {"name": init_policy}}
        return RECIPES[training.method](source, merged(training.overrides, start))
    except SettingsError as error:
        raise SettingsError(f"{path}: runs: {error}") from None


def _trained(training: Training, path: Path, init_policy: str, runs: Path) -> str:
    """The folder of the policy that a run ends with; a run that is there already is not run again."""
    recipe: Any = _recipe(training, path, init_policy)
    settings = recipe.model_dump(exclude={"report_to"})  # which has no influence on the result
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    from thinkseg.training.grpo import train as grpo
    from thinkseg.training.sft import train as sft

    out = runs / f"{training.method}-{digest}"
    return str(sft.train(recipe, out) if training.method == "sft" else grpo.train(recipe, out))


def _scored(ablation: Ablation, row: Variant, policy: str, out: Path) -> dict[str, Estimate]:
    """Returns the metrics of a variant over all categories."""
    from thinkseg import models
    from thinkseg.data import open_benchmark
    from thinkseg.evaluation.evaluate import Method, evaluate

    weights = dict(ablation.category_weights)
    benchmark = open_benchmark("shapes", split=ablation.split, limit=ablation.limit, category_weights=weights)
    chain = row.chain or ablation.chain
    method = Method(chain, models.load_policy(policy), models.load_tracker("flow"), batch_size=32)
    scores = evaluate(benchmark, method, out)
    return {name: Estimate(**one) for name, one in scores["metrics"]["overall"].items()}


def _gain(first: Path, this: Path) -> Estimate:
    """Returns the J&F of one variant minus that of another on the same samples, in percentage points."""
    return compare(first, this).metrics["overall"].get("J&F", Estimate(None))


def _table(ablation: Ablation, scored: Sequence[Mapping[str, Estimate]], gains: Sequence[Estimate]) -> str:
    """Returns the paper's values and ours, both in the paper's order, and the gain of each row over the first."""
    lines = []
    for position, (row, metrics, gain) in enumerate(zip(ablation.rows, scored, gains, strict=True)):
        paper = [f"{value:.1f}" for value in row.paper] or ["-"] * len(ablation.columns)
        ours = [str(Estimate(metrics.get(name, Estimate(None)).value)) for name in METRICS]
        lines.append([row.title, *paper, *ours, str(gain) if position else "-"])
    columns = ["", *(f"{column} (paper)" for column in ablation.columns), *METRICS, GAIN]
    return console.table(columns, lines, numbers=range(1, len(columns)), stored=True)
