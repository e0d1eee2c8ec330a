"""Reinforcement with replies that are the same whoever draws them: `python canned.py MODEL OUT` runs it.

Started by torchrun it is the same run, shared out.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from thinkseg.models.generation import Drawn, Engine
from thinkseg.rewards.group import Scored
from thinkseg.train import grpo
from thinkseg.train.grpo_recipe import GrpoRecipe, Source
from thinkseg.train.recipe import ModelRecipe


def recipe(folder: Path) -> GrpoRecipe:
    return GrpoRecipe(
        model=ModelRecipe(name=str(folder)),
        data=(Source("shapes"),),
        rewards={"format": 1.0},
        steps=2,
        num_frames=1,
        frame_wh=(56, 56),
        prompts=2,
        rollouts=3,
        learning_rate=1e-3,
        normalisation="dapo",
        max_new_tokens=8,
        show_every=0,
        precision="fp32",
    )


def write(self: Engine, reading: Any, rows: Sequence[int], *_: Any) -> list[Drawn]:
    """The more of a group there have been, the longer; and longer in prompts of an even length."""
    met: Counter[int] = Counter()
    drawn = []
    for row in rows:
        met[row] += 1
        length = met[row] + 2 * (1 - int(reading.seen[row].sum()) % 2)
        drawn.append(Drawn((*range(40, 40 + length), self.encoder.end_id), False))
    return drawn


def score(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[Scored]:
    """Longer is better, but for one prompt, where nothing is to be learned."""
    dull = prompt.sample.id == grpo.Prompts(recipe(Path()).data, 1, 0)[0].sample.id
    return [Scored(dict.fromkeys(weights), 0.0 if dull else outcome.num_tokens) for outcome in outcomes]


def main(folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    grpo.score_group = score
    Engine.write = write  # type: ignore[method-assign]
    grpo.train(recipe(folder), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
