"""From what was rolled out to what is trained on: groups of scored attempts in, packed rows with token weights out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder
from thinkseg.rewards.groups import Group
from thinkseg.training import distributed
from thinkseg.training.grpo.loss import token_weights
from thinkseg.training.packing import Row, collate, pack


@dataclass(frozen=True, slots=True, eq=False)
class PackedGroup:
    """One group as a packed row. advantage, weight: float32, one for each labelled token of the row, in order."""

    row: Row
    advantage: np.ndarray
    weight: np.ndarray


def lessons(
    groups: Sequence[Group], encoder: Encoder, loss_type: str, max_tokens: int, mask_truncated_completions: bool
) -> list[PackedGroup | None]:
    """A row for each of this process's groups of a step, None for one that teaches nothing.

    The weights are those of a whole step, the groups of other processes and those that teach nothing included: to leave
    the latter out of the sum, but not out of the count, is what computing them would come to. Where there are other
    processes they are a short row that weighs nothing, because all go through the model together.
    max_tokens: of one reply. exclude_truncated: gives rollouts that were cut short no weight.
    """
    encoded = [encoder.encode_group([outcome.dialogue for outcome in group.outcomes]) for group in groups]
    labelled = [[int((one.labels != IGNORED).sum()) for one in group] for group in encoded]
    lengths = [
        0 if mask_truncated_completions and outcome.truncated else length
        for group, counts in zip(groups, labelled, strict=True)
        for outcome, length in zip(group.outcomes, counts, strict=True)
    ]
    turns = max(len(outcome.replies) for group in groups for outcome in group.outcomes)
    weights = iter(_weights(lengths, loss_type, max_tokens, turns))
    rows: list[PackedGroup | None] = []
    for group, dialogues, counts in zip(groups, encoded, labelled, strict=True):
        weight = [next(weights) for _ in counts]
        if not group.informative:
            rows.append(_idle(dialogues, encoder) if distributed.count() > 1 else None)
            continue
        rows.append(
            PackedGroup(
                pack(dialogues, encoder.image_pad_id),
                np.repeat(group.advantages, counts).astype(np.float32),
                np.repeat(weight, counts).astype(np.float32),
            )
        )
    return rows


def _weights(lengths: Sequence[int], loss_type: str, max_tokens: int, turns: int) -> np.ndarray:
    """What each token of each of this process's rollouts weighs, among those of all processes."""
    all_gather = distributed.all_gather((lengths, turns))
    together = [length for theirs, _ in all_gather for length in theirs]
    weights = token_weights(together, loss_type, max_tokens * max(turns for _, turns in all_gather))
    before = sum(len(theirs) for theirs, _ in all_gather[: distributed.number()])
    # Gradients are averaged over processes, and the loss of a step is a sum.
    return weights[before : before + len(lengths)] * distributed.count()


def _idle(dialogues: Sequence[EncodedDialogue], encoder: Encoder) -> PackedGroup:
    shortest = min(dialogues, key=lambda dialogue: len(dialogue.input_ids))
    nothing = np.zeros(int((shortest.labels != IGNORED).sum()), np.float32)
    return PackedGroup(pack([shortest], encoder.image_pad_id), nothing, nothing)


def batch(lesson: PackedGroup, encoder: Encoder, vision: Any = None) -> dict[str, Any]:
    """A lesson as keyword arguments of `training.log_probs.token_logprobs`.

    vision: a `thinkseg.models.policies.qwen.vision_cache.ImageFeatureCache` that gives the features of the images, or
    None to
    let the model see them.
    """
    row = lesson.row
    made = collate([row], encoder.pad_id)
    if vision is not None:
        del made["pixel_values"], made["image_grid_thw"]
        if len(row.image_grid_thw):
            images = row.pixel_values.split(row.image_grid_thw.prod(-1).tolist())
            made["mm_encoder_outputs"] = {"image": vision.features(images, list(row.image_grid_thw))}
    return made
