"""`thinkseg train ...`: recipes in, checkpoints out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thinkseg.commands import options


def add_to(commands: Any) -> None:
    """Describes the commands."""
    group = commands.add_parser("train", help="train a policy", description="Trains a policy as a recipe says.")
    kinds = group.add_subparsers(title="ways to train", metavar="WAY", required=True)
    parser = kinds.add_parser(
        "sft",
        help="supervised fine-tuning",
        description="Runs the stages of a recipe. Started again with the same recipe and folder, it goes on where it "
        "was. The result is DIR/model, a folder that --policy takes.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the recipe, e.g. recipes/shapes-sft.yaml"
    )
    options.add_out(parser)
    parser.set_defaults(run=sft)


def sft(arguments: argparse.Namespace) -> int:
    """Trains as the recipe says."""
    from thinkseg.train.recipe import load_recipe

    recipe = load_recipe(arguments.config)
    from thinkseg.train.sft import train

    print(f"the model is in {train(recipe, arguments.out)}")
    return 0
