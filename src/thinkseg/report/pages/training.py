"""The page of one or several training runs: curves of all that is in their logs, and rollouts of any two steps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from thinkseg.data.readers.json_tree import read_json
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.report.page import write_html
from thinkseg.report.pages.curves import HEIGHT, SMOOTHED, TITLES, WIDTH, Log, charts, read_log, smooth
from thinkseg.report.pages.evaluation import PAGE
from thinkseg.storage.run_folder import LOG

RECIPE = "recipe.json"

ROLLOUTS = "rollouts"
"""Folder of the pages of rollouts, of a run and beside this page."""

MAX_PAGES = 40
"""Pages of rollouts that are copied, evenly spaced over a run."""

SUMMARIZED = re.compile(r"(reward|rewards/.*/mean|loss|parse_rate|kl|completions/mean_length)$")
"""Keys whose first and last values are printed large, of a single run."""


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """A page of rollouts. src: relative to this page."""

    run: str
    title: str
    src: str


def write_training(folders: Sequence[Path], folder: Path) -> None:
    """Writes the page. folder: empty. Raises SettingsError for a log that cannot be read or has no values."""
    names = [one.resolve().name for one in folders]
    names = names if len(set(names)) == len(names) else [str(one) for one in folders]
    logs = {name: _log(one) for name, one in zip(names, folders, strict=True)}
    runs = enumerate(zip(names, folders, strict=True))
    pages = [page for number, (name, one) in runs for page in _copied_rollouts(number, name, one, folder)]
    write_html(
        folder / PAGE,
        "training.html.j2",
        title=f"Training of {', '.join(names)}",
        names=names,
        recipes={name: _recipe(one) for name, one in zip(names, folders, strict=True)},
        totals=_totals(next(iter(logs.values()))) if len(logs) == 1 else {},
        charts=charts(logs),
        area=(WIDTH, HEIGHT),
        smoothed=SMOOTHED,
        rollouts=pages,
    )


def _log(folder: Path) -> Log:
    try:
        log = read_log(folder / LOG)
    except OSError as error:
        raise SettingsError(
            f"{folder / LOG}: cannot be read ({error.strerror}); give a folder of a training run"
        ) from None
    if not log.metrics:
        raise SettingsError(f"{folder / LOG}: has no values yet; wait for the first step")
    return log


def _recipe(folder: Path) -> dict[str, str]:
    """Returns the fields of the recipe as text, nested ones as "model.name"; {} if it is missing or damaged."""
    try:
        return dict(_flat("", read_json(folder / RECIPE).value))
    except DatasetError:
        return {}


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), inner)
        ]
    return [(prefix, str(value))] if prefix else []


def _totals(log: Log) -> dict[str, str]:
    """Returns the first and the last smoothed values of the main metrics."""
    wanted = sorted(filter(SUMMARIZED.match, log.metrics), key=lambda name: name == "loss")
    means = {name: smooth(log.metrics[name][:, 1]) for name in wanted}
    return {TITLES.get(name, name): f"{mean[0]:.3g} → {mean[-1]:.3g}" for name, mean in means.items()}


def _copied_rollouts(number: int, name: str, run: Path, folder: Path) -> list[RolloutPage]:
    """Copies pages of rollouts, the first and the last among them."""
    pages = sorted(path for path in (run / ROLLOUTS).glob("step-*.html") if path.is_file())
    chosen = dict.fromkeys([*pages[:: max(1, -(-len(pages) // MAX_PAGES))], *pages[-1:]])
    copies = folder / ROLLOUTS / str(number)
    for page in chosen:
        copies.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copies / page.name)
    return [
        RolloutPage(name, f"step {page.stem[5:].lstrip('0') or 0}", quote(f"{ROLLOUTS}/{number}/{page.name}"))
        for page in chosen
    ]
