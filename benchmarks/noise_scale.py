"""How many groups of rollouts a step of GRPO needs: `python benchmarks/noise_scale.py RECIPE [--model NAME]`

Rolls out groups for a recipe's prompts, takes the gradient of each, and tells how much of it they have in common. The
gradient noise scale, tr(S) / |G|^2 (McCandlish et al., arXiv 1812.06162), is the number of groups whose mean is as much
signal as noise: a step with far fewer mostly wanders. |G|^2, the signal, is the mean product of two groups' gradients,
which is without bias, and below 0 by chance if there is little of it; its error is the jackknife's. The KL to the start
has no part in it. All gradients are held in memory: it is for small models.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.grpo.step import Step
from thinkseg.training.trainer import resolve_view, trainable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--model", metavar="NAME", help="policy to ask about, in place of the recipe's")
    parser.add_argument("--groups", type=int, default=64, metavar="N", help="default: 64")
    arguments = parser.parse_args()
    if arguments.groups < 3:
        parser.error("--groups: at least 3")
    torch.manual_seed(0)
    recipe = load_grpo_recipe(arguments.recipe)
    settings = {"prompts_per_step": arguments.groups, "beta": 0.0, "precision": "fp32", "log_rollouts_steps": 0}
    name = arguments.model or str(recipe.model.name)
    reward, gradients = groups_of(recipe.model_copy(update=settings), name)
    signal, error = common(gradients)
    noise = float(gradients.square().sum(1).mean()) - signal
    told = {
        "recipe": arguments.recipe.name,
        "model": name,
        "groups": len(gradients),
        "reward": reward,
        "signal": signal,
        "signal_error": error,
        "noise": noise,
        # With the signal two errors larger than it was found to be: at least so many.
        "noise_scale_at_least": noise / (signal + 2 * error) if signal + 2 * error > 0 else None,
        "noise_scale": noise / signal if signal > 0 else None,
    }
    print(json.dumps(told))


def groups_of(recipe: GrpoRecipe, name: str) -> tuple[float, torch.Tensor]:
    """The mean reward of rollouts for `recipe.prompts_per_step` prompts, and gradients (groups, parameters)."""
    source = resolve_model(name)
    model = trainable(load_model(source, "fp32", "cpu"), recipe.model, recipe.gradient_checkpointing)
    encoder = Encoder.load(source)
    step = Step(recipe, model, None, encoder, resolve_view(recipe.view, model, encoder), Path())
    lessons = step.collect(range(recipe.prompts_per_step), 1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = []
    for lesson in lessons:
        # Zeros for parameters that have no part in it: for all of them, where a group has nothing to teach.
        parts = torch.autograd.grad(step.loss(model, lesson), trained, allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([part.flatten() for part in parts]) * recipe.prompts_per_step)
    return step.telling.end()["reward"], torch.stack(gradients)


def common(gradients: torch.Tensor) -> tuple[float, float]:
    """|G|^2 of the gradient that groups (N, parameters) have in common, and its standard error."""
    count = len(gradients)
    products = (gradients @ gradients.T).double().fill_diagonal_(0)
    whole = float(products.sum())
    # Each group left out in turn.
    without = (whole - 2 * products.sum(1)) / ((count - 1) * (count - 2))
    error = ((count - 1) / count * (without - without.mean()).square().sum()).sqrt()
    return whole / (count * (count - 1)), float(error)


if __name__ == "__main__":
    main()
