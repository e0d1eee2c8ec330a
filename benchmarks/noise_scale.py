"""Estimates how many groups a GRPO step needs: `python benchmarks/noise_scale.py RECIPE [--model NAME]`

Computes the gradient of one group per prompt and prints the gradient noise scale, tr(S) / |G|^2 (McCandlish et al.,
arXiv 1812.06162): the number of groups whose mean gradient has a signal-to-noise ratio of 1. The signal |G|^2 is
estimated without bias by the mean product of two groups' gradients, so a small one may come out negative; its error is
a jackknife estimate. The KL term is left out. All gradients stay in memory, so this is for small models only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, load_grpo_recipe
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.trainer import resolve_view, trainable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("--model", metavar="NAME", help="policy (default: that of the recipe)")
    parser.add_argument("--groups", type=int, default=64, metavar="N", help="default: 64")
    arguments = parser.parse_args()
    if arguments.groups < 3:
        parser.error("--groups: must be >= 3")
    torch.manual_seed(0)
    recipe = load_grpo_recipe(arguments.recipe)
    settings = {"prompts_per_step": arguments.groups, "beta": 0.0, "precision": "fp32", "log_rollouts_steps": 0}
    name = arguments.model or str(recipe.model.name)
    reward, gradients = groups_of(recipe.model_copy(update=settings), name)
    signal, error = common(gradients)
    noise = float(gradients.square().sum(1).mean()) - signal
    report = {
        "recipe": arguments.recipe.name,
        "model": name,
        "groups": len(gradients),
        "reward": reward,
        "signal": signal,
        "signal_error": error,
        "noise": noise,
        # A lower bound: the signal is taken to be two standard errors larger.
        "noise_scale_at_least": noise / (signal + 2 * error) if signal + 2 * error > 0 else None,
        "noise_scale": noise / signal if signal > 0 else None,
    }
    print(json.dumps(report))


def groups_of(recipe: GrpoRecipe, name: str) -> tuple[float, torch.Tensor]:
    """Returns the mean reward of `recipe.prompts_per_step` groups, and their gradients (groups, parameters)."""
    source = resolve_model(name)
    model = trainable(load_model(source, "fp32", "cpu"), recipe.model, recipe.gradient_checkpointing)
    encoder = Encoder.load(source)
    prompts = PromptDataset(recipe.data, recipe.num_frames, recipe.seed)
    step = GrpoStep(recipe, prompts, model, None, encoder, resolve_view(recipe.view, model, encoder), Path())
    packed = step.prepare(range(recipe.prompts_per_step), 1)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = []
    for group in packed:
        # Unused parameters get zeros; with an uninformative group that is all of them.
        parts = torch.autograd.grad(step.loss(group), trained, allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([part.flatten() for part in parts]) * recipe.prompts_per_step)
    return step.metrics()["reward"], torch.stack(gradients)


def common(gradients: torch.Tensor) -> tuple[float, float]:
    """Returns |G|^2 of the mean gradient of groups (N, parameters), and its standard error."""
    count = len(gradients)
    products = (gradients @ gradients.T).double().fill_diagonal_(0)
    total = float(products.sum())
    # The sum without each group in turn.
    without = (total - 2 * products.sum(1)) / ((count - 1) * (count - 2))
    error = ((count - 1) / count * (without - without.mean()).square().sum()).sqrt()
    return total / (count * (count - 1)), float(error)


if __name__ == "__main__":
    main()
