"""Sizes of the packed rows of a run in tokens and patches, from its recipe and the sizes of the model.

Visual tokens are exact. The rest is an estimate: a token of text has `CHARS_PER_TOKEN` characters, and every rollout is
as long as `max_new_tokens` allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, cast

import numpy as np

from thinkseg.chains import CHAINS
from thinkseg.chains.frames import show
from thinkseg.chains.revseg import ask_where
from thinkseg.demonstrations import opened_set
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.model_stats import ModelStats
from thinkseg.training.sft.data import KINDS, Mixture
from thinkseg.training.sft.recipe import DataKind, Stage
from thinkseg.types import Dialogue, Turn, VideoSample, View

if TYPE_CHECKING:
    from thinkseg.models.policies.qwen.encoder import Encoder

CHARS_PER_TOKEN = 3.0
"""Of prose and boxes together: prose has about four, but Qwen's tokenizers make one token of each digit."""

SAMPLED_CLIPS = 6
"""Clips of each kind of data among which the longest row is looked for."""

QUESTION = "the animal that changes direction after it is overtaken by the others"
"""Stands for the questions of a benchmark."""


@dataclass(frozen=True, slots=True)
class RowSize:
    """Size of a packed row, or of a turn. patches: of all images; labels: tokens that the loss is computed on."""

    tokens: int
    patches: int
    labels: int = 0


def longest_row(stage: Stage, model: ModelStats, view: View, cot_set: str | None) -> RowSize:
    """The longest row of some of a stage's data. The data are made, but not encoded."""
    cot = opened_set(cot_set, view) if cot_set and "cot" in stage.data else None
    mixture = Mixture(
        cast("Encoder", None),
        view,
        stage.data,
        stage.questions_per_clip,
        clip_offset=0,
        length=SAMPLED_CLIPS,
        cot=cot,
        category_weights=stage.category_weights,
        noise_word_rate=stage.noise_word_rate,
    )
    # keyframe_only is made of the beginnings of traces, and cutting them takes a tokenizer.
    kinds: set[DataKind] = {"traces" if kind == "keyframe_only" else kind for kind in stage.data}
    made = (KINDS[kind](mixture, at, np.random.default_rng(at)) for kind in kinds for at in range(SAMPLED_CLIPS))
    return max((packed_row(dialogues, model) for dialogues in made if dialogues), key=lambda row: row.tokens)


def packed_row(dialogues: Sequence[Dialogue], model: ModelStats) -> RowSize:
    """Size of the row of some dialogues. What all of them begin with stands in it once."""
    contents = [list(_contents(dialogue)) for dialogue in dialogues]
    shared = [parts[0] for parts in takewhile(_equal, zip(*contents, strict=False))] if len(contents) > 1 else []
    tokens = tokens_of(shared, model) + sum(tokens_of(content[len(shared) :], model) for content in contents)
    labels = sum(tokens_of((said,), model) for dialogue in dialogues for said in dialogue if isinstance(said, str))
    images = {id(part): part for content in contents for part in content if not isinstance(part, str)}
    return RowSize(tokens, _patches(list(images.values()), model), labels)


def group_row(turns: Sequence[RowSize], recipe: GrpoRecipe) -> RowSize:
    """Size of the row of a GRPO group: the first turn once, and each rollout with its replies and further turns."""
    first, *later = turns
    replies = recipe.max_new_tokens * len(turns)
    return RowSize(
        first.tokens + recipe.num_generations * (replies + sum(turn.tokens for turn in later)),
        first.patches + recipe.num_generations * sum(turn.patches for turn in later),
        recipe.num_generations * replies,
    )


def turn_sizes(chain: str, view: View, model: ModelStats) -> list[RowSize]:
    """Sizes of what a chain asks, turn by turn."""
    return [RowSize(tokens_of(turn.content, model), _patches(turn.images, model)) for turn in _turns(chain, view)]


def _turns(chain: str, view: View) -> Iterator[Turn]:
    """The turns of a chain about blank frames."""
    from thinkseg.ops.video import ArrayFrames

    video = ArrayFrames(np.zeros((view.num_frames, 1, 1, 3), np.uint8), fps=1.0)
    yield next(CHAINS[chain](VideoSample("plan", video, QUESTION), view))
    if chain == "revseg":
        shown, (image,) = show(video, view.closeup, [0])
        yield ask_where(QUESTION, shown, image)


def cache_tokens(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> int:
    """Tokens in the KV cache: prompts once each, and the rollouts that are continued at the same time."""
    (first, _), *later = _dialogues_at_once(recipe, turns)
    # The first turn adds replies to shared prompts; a later turn continues copies of whole dialogues.
    continued = [first * recipe.max_new_tokens, *(count * length for count, length in later)]
    return recipe.prompts_per_step * turns[0].tokens + max(continued)


def prefills(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> list[RowSize]:
    """What is read at the same time in each turn: prompts, then the replies and further turns of rollouts."""
    (first, _), *later = _dialogues_at_once(recipe, turns)
    prompts = max(1, first // recipe.num_generations)
    reads = [RowSize(prompts * turns[0].tokens, prompts * turns[0].patches)]
    for (count, _), turn in zip(later, turns[1:], strict=True):
        reads.append(RowSize(count * (turn.tokens + recipe.max_new_tokens), count * turn.patches))
    return reads


def _dialogues_at_once(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> list[tuple[int, int]]:
    """For each turn, how many dialogues are continued at the same time, and their length in the end."""
    total, length, found = recipe.prompts_per_step * recipe.num_generations, 0, []
    for number, turn in enumerate(turns):
        step = 1 if number else recipe.num_generations  # a group shares its prompt
        length += turn.tokens
        fitting = recipe.max_cache_tokens // (length + step * recipe.max_new_tokens)
        length += recipe.max_new_tokens
        found.append((min(total, max(1, fitting) * step), length))
    return found


def tokens_of(content: Sequence[str | np.ndarray], model: ModelStats) -> int:
    """Tokens of texts and images: one more for the delimiters of a text, two more around an image."""
    return sum(
        1 + int(len(part) / CHARS_PER_TOKEN) if isinstance(part, str) else 2 + model.visual_tokens(_size_wh(part))
        for part in content
    )


def _contents(dialogue: Dialogue) -> Iterator[str | np.ndarray]:
    for said in dialogue:
        yield from said.content if isinstance(said, Turn) else (said,)


def _equal(parts: Sequence[str | np.ndarray]) -> bool:
    """Whether all dialogues have the same text in a place, or the very same image."""
    return all(part is parts[0] or (isinstance(part, str) and part == parts[0]) for part in parts)


def _patches(images: Sequence[np.ndarray], model: ModelStats) -> int:
    return sum(model.patches(_size_wh(image)) for image in images)


def _size_wh(image: np.ndarray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]
