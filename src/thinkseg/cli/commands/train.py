"""`thinkseg train ...` and `thinkseg ablate`: checkpoints and tables according to recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import argument, command, flag, new_group, option, path, text
from thinkseg.console import say

app = new_group("train", "train a policy", "Trains a policy according to a recipe.", "METHOD")
ablation = typer.Typer()

SftConfig = Annotated[Path, option(path, "FILE", "the recipe, e.g. recipes/shapes-sft.yaml", "--config")]
GrpoConfig = Annotated[Path, option(path, "FILE", "the recipe, e.g. recipes/shapes-veason.yaml", "--config")]


@command(app, "supervised fine-tuning")
def sft(config: SftConfig, out: options.Out, changes: options.Assignments = None) -> int:
    """Trains the stages of a recipe one after another. Rerun with the same recipe and folder, it resumes.

    The result is DIR/model, a folder for --policy.
    """
    from thinkseg.storage.settings_file import assigned
    from thinkseg.training.sft.recipe import load_recipe

    recipe = load_recipe(config, *map(assigned, changes or ()))
    from thinkseg.training.sft.train import train

    _report(train(recipe, out))
    return 0


@command(app, "reinforcement learning with verifiable rewards (GRPO)")
def grpo(config: GrpoConfig, out: options.Out, changes: options.Assignments = None) -> int:
    """Samples rollouts of a policy and makes those with higher rewards more likely. DIR/rollouts shows them.

    Rerun with the same recipe and folder, it resumes. The result is DIR/model, a folder for --policy.
    """
    from thinkseg.storage.settings_file import assigned
    from thinkseg.training.grpo.recipe import load_grpo_recipe

    recipe = load_grpo_recipe(config, *map(assigned, changes or ()))
    from thinkseg.training.grpo.train import train

    _report(train(recipe, out))
    return 0


def _report(model: Path) -> None:
    """Prints the folder of the trained model, once for all processes."""
    from thinkseg.training import distributed

    if distributed.rank() == 0:
        print(f"the model is in {model}")


@command(app, "memory that a recipe requires")
def plan(
    recipe: Annotated[Path, argument(path, "RECIPE", "e.g. recipes/veason-3b.yaml")],
    model: Annotated[str | None, option(text, "NAME", "folder or hub name in place of the recipe's model")] = None,
    devices: Annotated[int, option(parsers.count, "N", "number of devices that the parts of memory are for")] = 1,
    changes: options.Assignments = None,
) -> int:
    """Prints parameters and memory of a recipe for `sft` or `grpo`, and the memory per device on several devices.

    It loads no weights: the model's config.json is enough.
    """
    from thinkseg.storage.settings_file import assigned
    from thinkseg.training import memory_plan

    loaded = memory_plan.load(recipe, model, *map(assigned, changes or ()))
    stats = memory_plan.stats_of(loaded.model)
    print(memory_plan.report(loaded, stats, devices))
    return 0


@command(app, "vLLM servers for the rollouts of a recipe")
def servers(
    recipe: Annotated[Path, argument(path, "RECIPE", "a GRPO recipe with `rollout: {engine: vllm, ...}`")],
    gpus: Annotated[
        tuple[int, ...], option(parsers.indices, "I,J", "GPUs that the servers of a machine share equally, e.g. 0,1")
    ] = (),
    start: Annotated[bool, flag("--start", "start them, and stop them on Ctrl-C")] = False,
    vllm: Annotated[str, option(text, "PATH", "program of vLLM, which has an environment of its own")] = "vllm",
    extra: Annotated[
        tuple[str, ...], option(parsers.words, "ARGUMENTS", "more for `vllm serve`, e.g. '--max-num-seqs 64'")
    ] = (),
    changes: options.Assignments = None,
) -> int:
    """Prints the commands that start the servers of a recipe, with the settings that its rollouts need.

    With --start, it runs those of this machine. A server that ends is started again, and gets the current weights.
    """
    from thinkseg.storage.settings_file import assigned
    from thinkseg.training.grpo.recipe import load_grpo_recipe
    from thinkseg.training.grpo.serving import run_servers, server_commands
    from thinkseg.training.memory_plan import stats_of

    loaded = load_grpo_recipe(recipe, *map(assigned, changes or ()))
    commands = server_commands(loaded, stats_of(loaded.model), vllm, gpus, extra)
    print(*commands, sep="\n", flush=True)
    if start:
        run_servers(commands)
    return 0


@command(ablation, "train and score variants of a method")
def ablate(
    file: Annotated[Path, argument(path, "FILE", "e.g. recipes/ablations/shapes-rewards.yaml")],
    out: options.Out,
    runs: Annotated[
        Path | None,
        option(
            parsers.output,
            "DIR",
            "folder for training runs, which ablations can share (default: runs in the output folder)",
        ),
    ] = None,
    changes: options.Assignments = None,
) -> int:
    """Trains every variant that a file lists, scores it on the file's data set, and writes one table.

    Another data set: --set data.name=revos --set data.root=DIR. Rerun with the same file and folder, it resumes.
    """
    from thinkseg.storage.outputs import check_folder
    from thinkseg.storage.settings_file import assigned
    from thinkseg.training.ablation.run import ablate

    for folder in filter(None, (out, runs)):
        check_folder(folder)
    print(ablate(file, out, runs, [assigned(one) for one in changes or ()], say=print))
    say(f"wrote {out / 'table.txt'}")
    return 0
