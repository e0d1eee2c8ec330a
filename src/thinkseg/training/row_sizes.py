"""Estimates the sizes of a run's packed rows in tokens and patches, from its recipe and the sizes of the model.

Visual tokens are exact. Text is estimated at `CHARS_PER_TOKEN` characters per token, and replies of rollouts at
`max_new_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, cast

import numpy as np

from thinkseg.chains import get_chain
from thinkseg.chains.frames import show
from thinkseg.chains.revseg import ask_where
from thinkseg.demonstrations import open_cot_set
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.model_stats import ModelStats
from thinkseg.training.sft.data import KINDS, Mixture
from thinkseg.training.sft.recipe import DataKind, Stage
from thinkseg.types import Dialogue, Turn, VideoSample, View

if TYPE_CHECKING:
    from thinkseg.models.policies.qwen.encoder import Encoder

CHARS_PER_TOKEN = 3.0
"""For prose and boxes combined: prose has about 4, but Qwen's tokenizers encode each digit as one token."""

SAMPLED_CLIPS = 6
"""Clips per kind of data that are searched for the longest row."""

UNTRUNCATED: dict[DataKind, DataKind] = {"keyframe_only": "traces", "cot_keyframe_only": "cot"}
"""Kinds of data that would need a tokenizer to truncate replies, and the kinds they truncate."""

QUESTION = "the animal that changes direction after it is overtaken by the others"
"""A query of the typical length in benchmarks."""


@dataclass(frozen=True, slots=True)
class RowSize:
    """Size of a packed row, or of a turn. patches: of all images; labels: tokens that the loss is computed on."""

    tokens: int
    patches: int
    labels: int = 0


def longest_row(stage: Stage, model: ModelStats, view: View, cot_set: str | None) -> RowSize:
    """Returns the longest row among samples of a stage's data. The samples are generated, but not encoded."""
    cot = open_cot_set(cot_set, view) if cot_set and stage.reads_cot_set else None
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
    kinds = {UNTRUNCATED.get(kind, kind) for kind in stage.data}
    samples = (KINDS[kind](mixture, at, np.random.default_rng(at)) for kind in kinds for at in range(SAMPLED_CLIPS))
    return max((packed_row(dialogues, model) for dialogues in samples if dialogues), key=lambda row: row.tokens)


def packed_row(dialogues: Sequence[Dialogue], model: ModelStats) -> RowSize:
    """Returns the size of the row that packs the dialogues. Their common prefix is counted once."""
    contents = [list(_contents(dialogue)) for dialogue in dialogues]
    shared = [parts[0] for parts in takewhile(_equal, zip(*contents, strict=False))] if len(contents) > 1 else []
    tokens = tokens_of(shared, model) + sum(tokens_of(content[len(shared) :], model) for content in contents)
    labels = sum(tokens_of((part,), model) for dialogue in dialogues for part in dialogue if isinstance(part, str))
    images = {id(part): part for content in contents for part in content if not isinstance(part, str)}
    return RowSize(tokens, _patches(list(images.values()), model), labels)


def group_row(turns: Sequence[RowSize], recipe: GrpoRecipe) -> RowSize:
    """Returns the size of a GRPO group's row: the first turn once, and the replies and later turns per rollout."""
    first, *later = turns
    replies = recipe.max_new_tokens * len(turns)
    return RowSize(
        first.tokens + recipe.num_generations * (replies + sum(turn.tokens for turn in later)),
        first.patches + recipe.num_generations * sum(turn.patches for turn in later),
        recipe.num_generations * replies,
    )


def turn_sizes(chain: str, view: View, model: ModelStats) -> list[RowSize]:
    """Returns the size of each turn of a chain's prompt."""
    return [RowSize(tokens_of(turn.content, model), _patches(turn.images, model)) for turn in turns(chain, view)]


def turns(chain: str, view: View) -> Iterator[Turn]:
    """Yields the turns of a chain for a video of blank frames."""
    from thinkseg.ops.video import ArrayFrames

    video = ArrayFrames(np.zeros((view.num_frames, 1, 1, 3), np.uint8), fps=1.0)
    yield next(get_chain(chain)(VideoSample("plan", video, QUESTION), view))
    if chain == "revseg":
        shown, (image,) = show(video, view.closeup, [0])
        yield ask_where(QUESTION, shown, image, view)


def cache_tokens(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> int:
    """Returns the tokens in the KV cache: each prompt once, and the rollouts that are decoded concurrently."""
    (first, _), *later = _concurrent_dialogues(recipe, turns)
    # The first turn adds replies to shared prompts; a later turn continues copies of whole dialogues.
    continued = [first * recipe.max_new_tokens, *(count * length for count, length in later)]
    return recipe.prompts_per_step * turns[0].tokens + max(continued)


def prefills(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> list[RowSize]:
    """Returns the size of the prefill batch per turn: prompts, then the previous replies and turns of rollouts."""
    (first, _), *later = _concurrent_dialogues(recipe, turns)
    prompts = max(1, first // recipe.num_generations)
    batches = [RowSize(prompts * turns[0].tokens, prompts * turns[0].patches)]
    for (count, _), turn in zip(later, turns[1:], strict=True):
        batches.append(RowSize(count * (turn.tokens + recipe.max_new_tokens), count * turn.patches))
    return batches


def _concurrent_dialogues(recipe: GrpoRecipe, turns: Sequence[RowSize]) -> list[tuple[int, int]]:
    """Per turn, the number of dialogues that are decoded concurrently, and their final length in tokens."""
    total, length, batches = recipe.prompts_per_step * recipe.num_generations, 0, []
    for number, turn in enumerate(turns):
        step = 1 if number else recipe.num_generations  # a group shares its prompt in the first turn
        length += turn.tokens
        fitting = recipe.max_cache_tokens // (length + step * recipe.max_new_tokens)
        length += recipe.max_new_tokens
        batches.append((min(total, max(1, fitting) * step), length))
    return batches


def tokens_of(content: Sequence[str | np.ndarray], model: ModelStats) -> int:
    """Tokens of texts and images, plus one delimiter per text and two per image."""
    return sum(
        1 + int(len(part) / CHARS_PER_TOKEN) if isinstance(part, str) else 2 + model.visual_tokens(_size_wh(part))
        for part in content
    )


def _contents(dialogue: Dialogue) -> Iterator[str | np.ndarray]:
    for part in dialogue:
        yield from part.content if isinstance(part, Turn) else (part,)


def _equal(parts: Sequence[str | np.ndarray]) -> bool:
    """Whether the parts are equal texts, or the same image object."""
    return all(part is parts[0] or (isinstance(part, str) and part == parts[0]) for part in parts)


def _patches(images: Sequence[np.ndarray], model: ModelStats) -> int:
    return sum(model.patches(_size_wh(image)) for image in images)


def _size_wh(image: np.ndarray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]
