"""Converts groups of scored rollouts to packed rows with one advantage and one weight per trained token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder, GeneratedText
from thinkseg.rewards.groups import Group
from thinkseg.training import distributed
from thinkseg.training.grpo.loss import token_weights
from thinkseg.training.packing import PackedRow, collate, pack


@dataclass(frozen=True, slots=True, eq=False)
class PackedGroup:
    """One group as a packed row.

    advantage, weight: float32, one per labelled token of the row, in order. sampled_logp: likewise, the
    log-probabilities under the engine that sampled the tokens; None if that is the model in training itself.
    """

    row: PackedRow
    advantage: np.ndarray
    weight: np.ndarray
    sampled_logp: np.ndarray | None = None


def pack_groups(
    groups: Sequence[Group], encoder: Encoder, loss_type: str, max_tokens: int, mask_truncated_completions: bool
) -> list[PackedGroup | None]:
    """Packs each of this process's groups of a step. None: the group is not informative, and is skipped.

    Weights refer to the complete step: they count the rollouts of other processes and of groups that are skipped, as
    if all had been computed. With several processes, a short row of weight 0 replaces None, because every process must
    run the model equally often.
    max_tokens: per reply. mask_truncated_completions: gives truncated rollouts the weight 0.
    """
    encoded = [encoder.encode_group([outcome.dialogue for outcome in group.outcomes]) for group in groups]
    counts = [[_num_labels(dialogue) for dialogue in dialogues] for dialogues in encoded]
    lengths = [
        0 if mask_truncated_completions and outcome.truncated else count
        for group, of_group in zip(groups, counts, strict=True)
        for outcome, count in zip(group.outcomes, of_group, strict=True)
    ]
    turns = max(len(outcome.replies) for group in groups for outcome in group.outcomes)
    weights = iter(_weights(lengths, loss_type, max_tokens, turns))
    return [
        _pack_group(group, dialogues, of_group, [next(weights) for _ in of_group], encoder)
        for group, dialogues, of_group in zip(groups, encoded, counts, strict=True)
    ]


def _num_labels(dialogue: EncodedDialogue) -> int:
    return int((dialogue.labels != IGNORED).sum())


def _weights(lengths: Sequence[int], loss_type: str, max_tokens: int, turns: int) -> np.ndarray:
    """Returns the token weight of each of this process's rollouts within the step of all processes."""
    gathered = distributed.all_gather((lengths, turns))
    all_lengths = [length for of_process, _ in gathered for length in of_process]
    weights = token_weights(all_lengths, loss_type, max_tokens * max(turns for _, turns in gathered))
    first = sum(len(of_process) for of_process, _ in gathered[: distributed.rank()])
    # Gradients are averaged over processes, while the loss of a step is a sum.
    return weights[first : first + len(lengths)] * distributed.world_size()


def _pack_group(
    group: Group,
    dialogues: Sequence[EncodedDialogue],
    counts: Sequence[int],
    weights: Sequence[float],
    encoder: Encoder,
) -> PackedGroup | None:
    """counts, weights: per rollout, its number of trained tokens and the weight of each."""
    if not group.informative:
        return _zero_weight_row(dialogues, encoder) if distributed.world_size() > 1 else None
    return PackedGroup(
        pack(dialogues, encoder.image_pad_id),
        np.repeat(group.advantages, counts).astype(np.float32),
        np.repeat(weights, counts).astype(np.float32),
        _sampled_logp(group),
    )


def _sampled_logp(group: Group) -> np.ndarray | None:
    replies = [part for outcome in group.outcomes for part in outcome.dialogue if isinstance(part, GeneratedText)]
    known = [reply.logprobs for reply in replies if reply.logprobs is not None]
    return np.concatenate(known).astype(np.float32) if known else None


def _zero_weight_row(dialogues: Sequence[EncodedDialogue], encoder: Encoder) -> PackedGroup:
    shortest = min(dialogues, key=lambda dialogue: len(dialogue.input_ids))
    zeros = np.zeros(_num_labels(shortest), np.float32)
    return PackedGroup(pack([shortest], encoder.image_pad_id), zeros, zeros)


def model_inputs(packed: PackedGroup, encoder: Encoder, vision: Any = None) -> dict[str, Any]:
    """Returns the batch of one packed group for `training.log_probs.token_logprobs`.

    vision: the `ImageFeatureCache` that provides the features of the images; None: the model computes them.
    """
    row = packed.row
    inputs = collate([row], encoder.pad_id)
    if vision is not None:
        del inputs["pixel_values"], inputs["image_grid_thw"]
        if len(row.image_grid_thw):
            images = row.pixel_values.split(row.image_grid_thw.prod(-1).tolist())
            inputs["mm_encoder_outputs"] = {"image": vision.features(images, list(row.image_grid_thw))}
    return inputs
