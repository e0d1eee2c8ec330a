"""What a reinforcement run takes: a recipe and its model's anatomy in, a `Job` out.

Replies are reckoned as long as they may become.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from thinkseg.chains import CHAINS
from thinkseg.chains.revseg import ask_where
from thinkseg.chains.show import show
from thinkseg.train import costs
from thinkseg.train.anatomy import Anatomy
from thinkseg.train.costs import Work
from thinkseg.train.grpo_recipe import GrpoRecipe
from thinkseg.train.jobs import Job, held_bytes, size_of, tokens_of, trained_weights, update_bytes
from thinkseg.train.words import tokens_at_once
from thinkseg.types import Turn, VideoSample, View

QUESTION = "the animal that changes direction after it is overtaken by the others"


def reinforcement(recipe: GrpoRecipe, model: Anatomy, view: View) -> Job:
    bf16, frozen = recipe.precision != "fp32", not recipe.model.train_vision
    turns = _turns(recipe.chain, view)
    asked = [tokens_of(turn.content, model) for turn in turns]
    patches = [sum(model.patches(size_of(image)) for image in turn.images) for turn in turns]
    prompt, reply = asked[0], recipe.max_new_tokens
    branch = sum(asked[1:]) + reply * len(turns)
    row = prompt + recipe.rollouts * branch
    seen = patches[0] + recipe.rollouts * sum(patches[1:])
    trained = trained_weights(model, recipe.model)
    places = recipe.rollouts * reply * len(turns)
    held = held_bytes(model, recipe.model, trained, recipe.optimizer, bf16)
    if recipe.beta and not recipe.model.lora:
        held["reference"] = 4 * model.weights
    checkpointing = recipe.gradient_checkpointing
    update = update_bytes(model, trained, row, 0 if frozen else seen, places, 1, bf16, checkpointing)
    passes = 1 + (1 if recipe.model.lora else 2) + checkpointing + bool(recipe.beta)
    # The prompt sees itself, and each rollout the prompt and itself.
    rolled_out = costs.forward(model.language, row - prompt, prompt + branch)
    learning = costs.forward(model.language, prompt, prompt) + rolled_out
    # Logits that do not fit at once are made again for their gradients.
    heads = 3 + bool(recipe.beta) + (places > tokens_at_once(model.vocabulary))
    reading = costs.forward(model.vision, seen, model.patches(view.frame_wh))
    tower_passes = 1 if frozen else 1 + passes
    work = [
        *_rolling_work(recipe, model, asked, bf16),
        Work(reading * tower_passes, 0, model.vision.layers * tower_passes, recipe.prompts),
        Work(
            learning * passes + costs.head(model, places) * heads,
            0,
            model.language.layers * passes,
            recipe.prompts,
        ),
        Work(0, 32.0 * trained, 0),
    ]
    rollout = _rollout(recipe, model, asked, patches, bf16)
    what = f"{recipe.rollouts} rollouts of at most {reply:,} tokens" + (" a turn" if len(turns) > 1 else "")
    phases = {"update": update, "rollout": rollout}
    return Job("grpo", recipe.steps, recipe.prompts, what, prompt, row, held, phases, tuple(work))


def _turns(chain: str, view: View) -> list[Turn]:
    """What a chain says to a policy, with pictures of nothing."""
    from thinkseg.ops.video import ArrayFrames

    video = ArrayFrames(np.zeros((view.num_frames, 1, 1, 3), np.uint8), fps=1.0)
    turns = [next(CHAINS[chain](VideoSample("plan", video, QUESTION), view))]
    if chain == "revseg":
        shown, (image,) = show(video, view.closeup, [0])
        turns.append(ask_where(QUESTION, shown, image))
    return turns


def _at_once(recipe: GrpoRecipe, asked: Sequence[int]) -> list[tuple[int, int]]:
    """For each turn, dialogues that are continued at a time, and how long they are then."""
    total, found, before = recipe.prompts * recipe.rollouts, [], 0
    for turn, tokens in enumerate(asked):
        length = before + tokens + recipe.max_new_tokens
        together = recipe.tokens_at_once // length
        least = 1 if turn else recipe.rollouts
        found.append((min(total, max(least, together - together % least)), length))
        before = length
    return found


def _rollout(
    recipe: GrpoRecipe, model: Anatomy, asked: Sequence[int], patches: Sequence[int], bf16: bool
) -> dict[str, float]:
    """Bytes while prompts are read and continued."""
    place = model.kept * (2 if bf16 else 4)
    (first, _), *later = _at_once(recipe, asked)
    cache = first * recipe.max_new_tokens  # what is written; prompts are kept once
    read = max(1, first // recipe.rollouts)
    largest = [(read * asked[0], read * patches[0])]
    for (rows, longest), tokens, seen in zip(later, asked[1:], patches[1:], strict=True):
        cache = max(cache, rows * longest)  # a second turn goes on from a copy of the first
        largest.append((rows * (tokens + recipe.max_new_tokens), rows * seen))
    return {
        "cache of prompts": float(recipe.prompts * asked[0] * place),
        "cache of rollouts": float(cache * place),
        "reading": float(
            max(
                max(costs.passing(model.language, tokens, bf16), costs.passing(model.vision, seen, bf16))
                for tokens, seen in largest
            )
        ),
    }


def _rolling_work(recipe: GrpoRecipe, model: Anatomy, asked: Sequence[int], bf16: bool) -> Iterator[Work]:
    """Reading prompts, and writing token by token."""
    language, number = model.language, 2 if bf16 else 4
    total, reply = recipe.prompts * recipe.rollouts, recipe.max_new_tokens
    yield Work(costs.forward(language, asked[0], asked[0]), 0, language.layers, recipe.prompts)
    for turn, (rows, length) in enumerate(_at_once(recipe, asked)):
        if turn:
            yield Work(costs.forward(language, asked[turn], length) * rows, 0, language.layers, total / rows)
        weights = number * (language.weights + model.vocabulary * language.width)
        read = rows * (length - reply) if turn else rows / recipe.rollouts * asked[0]
        cache = (read + rows * reply / 2) * model.kept * number
        flops = rows * (costs.forward(language, 1, length) + costs.head(model, 1))
        yield Work(flops, weights + cache, language.layers, reply * total / rows)
