"""`thinkseg train ...`: recipes in, checkpoints out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thinkseg.cli import options


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser("train", help="train a policy", description="Trains as a recipe says.")
    kinds = group.add_subparsers(title="ways to train", metavar="WAY", required=True)
    _add_way(kinds, "sft", sft, "supervised fine-tuning", "Runs the stages of a recipe.", "shapes-sft")
    _add_way(
        kinds,
        "grpo",
        grpo,
        "reinforcement with verifiable rewards (GRPO)",
        "Lets a policy answer, and makes the better ones of its answers likelier. DIR/rollouts shows what it writes.",
        "shapes-veason",
    )
    _add_plan(kinds)


def _add_plan(kinds: Any) -> None:
    parser = kinds.add_parser(
        "plan",
        help="memory that a recipe needs",
        description="Prints parameters and memory of a recipe for `sft` or `grpo`, and the memory per device on "
        "several devices. It loads no weights: the model's config.json is enough.",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="e.g. recipes/veason-3b.yaml")
    parser.add_argument("--model", metavar="NAME", help="a folder or hub name to take instead of the recipe's")
    parser.set_defaults(run=plan)


def _add_way(
    kinds: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    example: str,
) -> None:
    parser = kinds.add_parser(
        name,
        help=summary,
        description=f"{description} Started again with the same recipe and folder, it goes on where it was. "
        f"The result is DIR/model, a folder that --policy takes.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help=f"the recipe, e.g. recipes/{example}.yaml"
    )
    options.add_out(parser)
    parser.set_defaults(run=run)


def sft(arguments: argparse.Namespace) -> int:
    """Trains as the recipe says."""
    from thinkseg.training.sft.recipe import load_recipe

    recipe = load_recipe(arguments.config)
    from thinkseg.training.sft.train import train

    print(f"the model is in {train(recipe, arguments.out)}")
    return 0


def grpo(arguments: argparse.Namespace) -> int:
    """Reinforces as the recipe says."""
    from thinkseg.training.grpo.recipe import load_grpo_recipe

    recipe = load_grpo_recipe(arguments.config)
    from thinkseg.training.grpo.train import train

    print(f"the model is in {train(recipe, arguments.out)}")
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Prints the memory that a recipe needs."""
    from thinkseg.training import memory_plan

    recipe = memory_plan.load(arguments.recipe, arguments.model)
    model = memory_plan.stats_of(recipe.model)
    print(memory_plan.report(model, memory_plan.plan(recipe, model)))
    return 0


def add_ablate(commands: Any) -> None:
    """Describes the command."""
    parser = commands.add_parser(
        "ablate",
        help="train and score variants of a method",
        description="Trains every variant that a file lists, scores it on the shapes world, and writes one table like "
        "the papers'. Started again with the same file and folder, it goes on where it was.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="e.g. recipes/ablations/shapes-rewards.yaml")
    options.add_out(parser)
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help="where trainings are kept (default: runs in the output folder); tables that begin alike can share it",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Trains, scores and prints the table."""
    from thinkseg.storage.atomic import check_writable
    from thinkseg.training.ablation import ablate

    for folder in filter(None, (arguments.out, arguments.runs)):
        check_writable(folder)
    print(ablate(arguments.file, arguments.out, arguments.runs, say=print))
    print(f"wrote {arguments.out / 'table.txt'}")
    return 0
