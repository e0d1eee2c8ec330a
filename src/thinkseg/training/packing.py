"""Packs dialogues about the same frames into one row, so that their common prefix is computed once.

A row has the form

    [shared prefix | branch 1 | ... | branch B]

A branch attends to the prefix and to itself, and its position ids continue those of the prefix. A branch may have
images of its own. The loss and its gradients equal those of the same dialogues in separate rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, concat_images, spans

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class PackedRow:
    """One packed row of L tokens.

    input_ids, labels: int64 (L,). position_ids: int64 (3, L).
    branch_ids: int64 (L,), 0 in the prefix, b in branch b = 1..B.
    predictor_index: int64 (L,), the position whose logits predict each token: the previous token of its dialogue.
    pixel_values, image_grid_thw: images of the prefix, then those of each branch, as in `EncodedDialogue`.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    branch_ids: np.ndarray
    predictor_index: np.ndarray
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor


def pack(dialogues: Sequence[EncodedDialogue], image_pad_id: int) -> PackedRow:
    """Packs dialogues over their longest common prefix, images included. The prefix ends before the first label."""
    import torch

    first = dialogues[0]
    shared = _shared_length(dialogues, image_pad_id) if len(dialogues) > 1 else len(first.input_ids)
    num_images = int((spans(first.input_ids == image_pad_id)[:, 1] <= shared).sum())
    branches = [d for d in dialogues if len(d.input_ids) > shared]
    lengths = [len(d.input_ids) - shared for d in branches]
    return PackedRow(
        input_ids=np.concatenate([first.input_ids[:shared], *(d.input_ids[shared:] for d in branches)]),
        labels=np.concatenate([first.labels[:shared], *(d.labels[shared:] for d in branches)]),
        position_ids=np.concatenate(
            [first.position_ids[:, :shared], *(d.position_ids[:, shared:] for d in branches)], axis=1
        ),
        branch_ids=np.repeat(np.arange(1 + len(branches)), [shared, *lengths]),
        predictor_index=_predictor_index(shared, lengths),
        pixel_values=concat_images(
            [*first.images[:num_images], *(image for d in branches for image in d.images[num_images:])]
        ),
        image_grid_thw=torch.cat(
            [first.image_grid_thw[:num_images], *(d.image_grid_thw[num_images:] for d in branches)]
        ),
    )


def _predictor_index(shared: int, lengths: Sequence[int]) -> np.ndarray:
    """lengths: tokens of each branch."""
    index = np.arange(-1, shared + sum(lengths) - 1)
    index[shared + np.cumsum([0, *lengths])[:-1]] = shared - 1  # the first token of each branch
    return index


def _shared_length(dialogues: Sequence[EncodedDialogue], image_pad_id: int) -> int:
    """Length of the common prefix. It ends at the first label, so that equal replies are counted once per dialogue."""
    first = dialogues[0]
    shared = min(len(d.input_ids) for d in dialogues) - 1
    for other in dialogues:
        ends = np.flatnonzero(
            (first.input_ids[:shared] != other.input_ids[:shared]) | (other.labels[:shared] != IGNORED)
        )
        shared = int(ends[0]) if len(ends) else shared
    # Different images of one size have the same token ids.
    for image, (start, end) in enumerate(spans(first.input_ids == image_pad_id)):
        if start < shared and (end > shared or not all(_same_image(first, other, image) for other in dialogues[1:])):
            return int(start)
    return shared


def _same_image(one: EncodedDialogue, other: EncodedDialogue, image: int) -> bool:
    import torch

    first, second = one.images[image], other.images[image]
    return torch.equal(one.image_grid_thw[image], other.image_grid_thw[image]) and (
        first is second or torch.equal(first, second)
    )


def collate(rows: Sequence[PackedRow], pad_id: int) -> dict[str, Any]:
    """Makes a batch for `training.log_probs.token_logprobs`, padded on the right to the longest row.

    The batch holds the keyword arguments of the model, `labels` and `predictor_index`, int64 (rows, longest), and
    `lengths`, the tokens of the prefix and of each branch per row; see `training.packed_attention`.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)

    def padded(name: str, fill: int) -> torch.Tensor:
        values = [getattr(row, name) for row in rows]
        return torch.from_numpy(np.stack([_pad(v, longest, fill) for v in values]))

    return {
        "input_ids": padded("input_ids", pad_id),
        "labels": padded("labels", IGNORED),
        "predictor_index": padded("predictor_index", 0),
        "position_ids": padded("position_ids", 0).transpose(0, 1).contiguous(),
        "lengths": tuple(tuple(np.bincount(row.branch_ids).tolist()) for row in rows),
        "pixel_values": torch.cat([row.pixel_values for row in rows]),
        "image_grid_thw": torch.cat([row.image_grid_thw for row in rows]),
    }


def _pad(values: np.ndarray, length: int, fill: int) -> np.ndarray:
    width = [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])]
    return np.pad(values, width, constant_values=fill)
