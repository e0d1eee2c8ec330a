"""Ablations: a file of variants in, one table like the papers' out, every variant trained and scored on shapes.

    runs/WAY-DIGEST/         a training run; variants that begin alike share it, whatever table they are of
    out/rows/NAME/           the scores of one variant
    out/table.txt, .json     all of them beside the paper's figures

Started again with the same file and folders, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thinkseg import console
from thinkseg.chains import CHAINS
from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Figure
from thinkseg.evaluation.comparison import compare
from thinkseg.evaluation.shapes_scores import Figures
from thinkseg.storage.atomic import replacing
from thinkseg.training.grpo.recipe import load_grpo_recipe
from thinkseg.training.recipes import check_asked, merged, read_content, read_yaml
from thinkseg.training.sft.recipe import load_recipe

RECIPES: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {"sft": load_recipe, "grpo": load_grpo_recipe}
"""Ways of training by the name of their command, and how their recipes are read."""

FIGURES = {"j_and_f": "J&F", "r_k": "R_k", "r_s": "R_s", "parsed": "parsed", "no_target_right": "no-target right"}
"""The figures in the table, and the heads of their columns."""


GAIN = "J&F above the first row, points [95 %]"
"""Head of the column that tells a difference from chance, see `thinkseg.evaluation.aggregation`."""


@dataclass(frozen=True, slots=True)
class Training:
    """One training run. recipe: relative to the file of the ablation.

    changes: fields of it that are set otherwise, and stages by their names; see `training.recipes.merged`.
    """

    way: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table.

    name: of its folder. paper: the paper's figures for it. start: the policy that the first training starts from,
    where its recipe does not create one. runs: one after another, each starting from the policy of the one before.
    chain: how it is scored, where that is not as the rest of the table.
    """

    name: str
    title: str
    runs: tuple[Training, ...] = ()
    start: str = "shapes"
    paper: tuple[float, ...] = ()
    chain: str | None = None


@dataclass(frozen=True, slots=True)
class Ablation:
    """A table. columns: heads of the paper's figures.

    chain, split, limit: how variants are scored, on that many samples of shapes. asked: how often these ask about a
    category, where that is not as often as in val, as in `training.sft.recipe.Stage`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Variant, ...]
    chain: str = "veason"
    split: str = "val"
    limit: int = 300
    asked: Mapping[str, float] = field(default_factory=dict)


def load_ablation(path: Path) -> Ablation:
    """Reads and checks the file, and all recipes it names. Raises SettingsError."""
    ablation: Ablation = read_yaml(Ablation, path)
    names = [row.name for row in ablation.rows]
    if not names or len(set(names)) < len(names) or not all(name.replace("-", "").isalnum() for name in names):
        raise SettingsError(
            f"{path}: rows: each needs a name of its own, of letters, digits and dashes: it is a folder"
        )
    for where, chain in (("", ablation.chain), *((f"row {row.name}: ", row.chain) for row in ablation.rows)):
        if chain is not None and chain not in CHAINS:
            raise SettingsError(f"{path}: {where}chain: {chain!r} is none of {', '.join(CHAINS)}")
    check_asked(ablation.asked, str(path))
    if ablation.limit < 1:
        raise SettingsError(f"{path}: limit is at least 1")
    for row in ablation.rows:
        if len(row.paper) not in (0, len(ablation.columns)):
            raise SettingsError(f"{path}: row {row.name}: paper: one figure is needed for each of the columns")
        for training in row.runs:
            _recipe(training, path, row.start)
    return ablation


def ablate(path: Path, out: Path, runs: Path | None = None, say: Callable[[str], None] = lambda _: None) -> str:
    """Trains and scores all variants, and returns the table.

    runs: where trainings are, `out / "runs"` unless given: tables whose variants begin alike may share it, one after
    another. say: is told what is being done.

    Raises SettingsError as `load_ablation`, and whatever training and scoring raise.
    """
    ablation = load_ablation(path)
    rows, runs = out / "rows", runs or out / "runs"
    scored: list[Figures] = []
    gains: list[Figure] = []
    for row in ablation.rows:
        policy = row.start
        for training in row.runs:
            say(f"{row.title}: {training.way}")
            policy = _trained(training, path, policy, runs)
        say(f"{row.title}: scoring")
        scored.append(_scored(ablation, row, policy, rows / row.name))
        gains.append(_gain(rows / ablation.rows[0].name, rows / row.name))
    text = f"{ablation.title}\n{_table(ablation, scored, gains)}"
    with replacing(out / "table.txt") as file:
        file.write_text(text + "\n", "utf-8")
    figures = {
        row.name: asdict(one) | {"paper": row.paper, "gain": asdict(gain)}
        for row, one, gain in zip(ablation.rows, scored, gains, strict=True)
    }
    with replacing(out / "table.json") as file:
        file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return text


def _recipe(training: Training, path: Path, start: str) -> Any:
    if training.way not in RECIPES:
        raise SettingsError(f"{path}: runs: there is no way {training.way!r}; there are {', '.join(RECIPES)}")
    source = path.parent / training.recipe
    try:
        model = merged(read_content(source), training.changes).get("model") or {}
    except SettingsError as error:
        raise SettingsError(f"{path}: runs: {error}") from None
    # A recipe that creates its model starts from nothing, all others from the policy at hand.
    start_there = {} if model.get("create") else {"model": {"name": start}}
    return RECIPES[training.way](source, merged(training.changes, start_there))


def _trained(training: Training, path: Path, start: str, runs: Path) -> str:
    """The folder of the policy that a run ends with; a run that is there already is not run again."""
    recipe = _recipe(training, path, start)
    settings = {name: value for name, value in asdict(recipe).items() if name != "report_to"}  # which changes no run
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    from thinkseg.training.grpo import train as grpo
    from thinkseg.training.sft import train as sft

    out = runs / f"{training.way}-{digest}"
    return str(sft.train(recipe, out) if training.way == "sft" else grpo.train(recipe, out))


def _scored(ablation: Ablation, row: Variant, policy: str, out: Path) -> Figures:
    from thinkseg import models
    from thinkseg.data.shapes import load
    from thinkseg.evaluation.evaluate import evaluate

    samples = (load(ablation.split, index, category_weights=ablation.asked) for index in range(ablation.limit))
    answering, tracker = models.load_policy(policy), models.load_tracker("flow")
    # With other shares, samples of the same names are other questions.
    settings = {"data": "shapes", "split": ablation.split, "asked": dict(ablation.asked)}
    chain = row.chain or ablation.chain
    return evaluate(samples, chain, answering, tracker, out, batch_size=32, settings=settings).overall


def _gain(first: Path, this: Path) -> Figure:
    """How much better one variant answers the same questions than another, in J&F, points of percent."""
    return compare(first, this).figures["overall"].get("J&F", Figure(None))


def _table(ablation: Ablation, scored: Sequence[Figures], gains: Sequence[Figure]) -> str:
    """The paper's figures stand first, then ours; both in the paper's order. The last column says what is sure."""
    lines = []
    for place, (row, figures, gain) in enumerate(zip(ablation.rows, scored, gains, strict=True)):
        theirs = [f"{value:.1f}" for value in row.paper] or ["-"] * len(ablation.columns)
        ours = [getattr(figures, name) for name in FIGURES]
        cells = [*theirs, *("-" if value is None else f"{value:.3f}" for value in ours), str(gain) if place else "-"]
        lines.append([row.title, *cells])
    heads = ["", *(f"{column} (paper)" for column in ablation.columns), *FIGURES.values(), GAIN]
    return console.table(heads, lines, numbers=range(1, len(heads)))
