"""Runs an ablation: trains the variants of a file, scores them on one data set, and prints a table like the papers'.

    runs/METHOD-DIGEST/       one training run, shared by all variants and tables that start with it
    out/rows/NAME/            the results of one variant
    out/table.txt, .json      the metrics of all variants next to the paper's values

A rerun with the same file and folders resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinkseg.console import Meter, Progress
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.evaluation.aggregation import Estimate
from thinkseg.pipeline import changed_view
from thinkseg.storage import outputs
from thinkseg.storage.atomic import replace_json, replacing
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.training.ablation.checks import check_inputs
from thinkseg.training.ablation.recipe import Ablation, AnyRecipe, Method, Variant, load_ablation, recipe_of
from thinkseg.training.ablation.table import Result, Scores, format_table, gain
from thinkseg.types import View


def ablate(
    path: Path,
    out: Path,
    runs: Path | None = None,
    overrides: Sequence[Mapping[str, Any]] = (),
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Trains and scores all variants, and returns the table.

    runs: folder of the training runs, which tables can share, one after another (default: `out / "runs"`).
    overrides: of fields of the file. say: called with the name of each step.

    Raises SettingsError as `load_ablation`, the errors of `check_inputs` before the first training, and the errors of
    training and scoring.
    """
    ablation = load_ablation(path, *overrides)
    with outputs.claimed(out):
        benchmark = ablation.data.open()
        check_inputs(ablation, benchmark, path)
        rows = out / "rows"
        scored = []
        for row in ablation.rows:
            policy = _policy(ablation, row, path, runs or out / "runs", say)
            say(f"{row.title}: scoring")
            scored.append(_scored(ablation, row, benchmark, policy, rows / row.name))
        first = rows / ablation.rows[0].name
        gains = [gain(ablation, first, rows / row.name) for row in ablation.rows]
        results = [Result(*one) for one in zip(ablation.rows, scored, gains, strict=True)]
        text = f"{ablation.title}\n{format_table(ablation, results)}"
        with replacing(out / "table.txt") as file:
            file.write_text(text + "\n", "utf-8")
        replace_json({result.row.name: result.to_json() for result in results}, out / "table.json")
    return text


def _policy(ablation: Ablation, row: Variant, path: Path, runs: Path, say: Callable[[str], None]) -> str:
    """Trains the runs of a variant, and returns the folder of its policy."""
    policy = ablation.initial(row)
    for training in row.runs:
        say(f"{row.title}: {training.method}")
        policy = _trained(recipe_of(ablation, training, path, policy), training.method, runs)
    return policy


def _trained(recipe: AnyRecipe, method: Method, runs: Path) -> str:
    """The folder of the policy that a run ends with; a run that is there already is not run again."""
    settings = recipe.model_dump(exclude={"report_to"})  # which has no influence on the result
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    from thinkseg.training.grpo import train as grpo
    from thinkseg.training.sft import train as sft

    train: Any = sft.train if method == "sft" else grpo.train
    return str(train(recipe, runs / f"{method}-{digest}"))


def _scored(ablation: Ablation, row: Variant, benchmark: Benchmark, policy_name: str, out: Path) -> Scores:
    from thinkseg import models
    from thinkseg.evaluation.evaluate import Method, evaluate

    settings: dict[str, Any] = {"max_new_tokens": ablation.max_new_tokens} if ablation.max_new_tokens else {}
    policy, tracker = models.load_policy(policy_name, **settings), models.load_tracker(ablation.tracker)
    view = _view(ablation, row, policy.view)
    method = Method(row.chain or ablation.chain, policy, tracker, view, ablation.batch_size)
    with Progress() as progress:
        meter = Meter(progress, len(benchmark.expressions), "scoring")
        metrics = evaluate(benchmark, method, out, settings=settings, on_row=meter)["metrics"]
    return {f"{group}/{name}": Estimate(**one) for group, ones in metrics.items() for name, one in ones.items()}


def _view(ablation: Ablation, row: Variant, own: View) -> View:
    """Returns a policy's own view with what the table and its row replace."""
    prompts = read_prompts(ablation.prompts) if ablation.prompts else None
    num_frames = row.num_frames or ablation.num_frames
    return changed_view(own, num_frames, ablation.frame_wh, ablation.closeup_wh, prompts=prompts)
