"""Several dialogues about the same frames as one row, so that what they share is computed once.

In: dialogues encoded by `thinkseg.models.policies.qwen.encoder` that begin alike. Out: rows of the form

    [shared prefix | branch 1 | ... | branch B]

in which a branch sees the prefix and itself and takes its positions as if it alone followed the prefix. A branch may
show images of its own. The loss and its gradients equal those of the dialogues fed one by one.
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
class Row:
    """One packed row of L tokens.

    input_ids, labels: int64 (L,); position_ids: int64 (3, L).
    branch: int64 (L,), 0 in the prefix, b in branch b = 1..B.
    predictor: int64 (L,), the place whose logits predict each token: the one before it in its own dialogue.
    pixel_values, image_grid_thw: of the prefix's images, then of each branch's own, as they stand in the row; see
        `EncodedDialogue`.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    branch: np.ndarray
    predictor: np.ndarray
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor


def pack(dialogues: Sequence[EncodedDialogue], image_pad_id: int) -> Row:
    """Packs dialogues over the longest prefix they share, images included, before any of them is trained on."""
    import torch

    first = dialogues[0]
    shared = _shared(dialogues, image_pad_id) if len(dialogues) > 1 else len(first.input_ids)
    seen = int((spans(first.input_ids == image_pad_id)[:, 1] <= shared).sum())
    branches = [d for d in dialogues if len(d.input_ids) > shared]
    branch = [np.zeros(shared, np.int64), *(np.full(len(d.input_ids) - shared, b) for b, d in enumerate(branches, 1))]
    predictor = [np.arange(-1, shared - 1)]
    at = shared
    for one in branches:
        length = len(one.input_ids) - shared
        predictor.append(np.arange(at - 1, at + length - 1))
        predictor[-1][0] = shared - 1
        at += length
    return Row(
        input_ids=np.concatenate([first.input_ids[:shared], *(d.input_ids[shared:] for d in branches)]),
        labels=np.concatenate([first.labels[:shared], *(d.labels[shared:] for d in branches)]),
        position_ids=np.concatenate(
            [first.position_ids[:, :shared], *(d.position_ids[:, shared:] for d in branches)], axis=1
        ),
        branch=np.concatenate(branch),
        predictor=np.concatenate(predictor),
        pixel_values=concat_images([*first.images[:seen], *(image for d in branches for image in d.images[seen:])]),
        image_grid_thw=torch.cat([first.image_grid_thw[:seen], *(d.image_grid_thw[seen:] for d in branches)]),
    )


def _shared(dialogues: Sequence[EncodedDialogue], image_pad_id: int) -> int:
    """Length of the common prefix. It ends where labels begin: each dialogue's own words count, equal ones too."""
    first = dialogues[0]
    shared = min(len(d.input_ids) for d in dialogues) - 1
    for other in dialogues:
        ends = np.flatnonzero(
            (first.input_ids[:shared] != other.input_ids[:shared]) | (other.labels[:shared] != IGNORED)
        )
        shared = int(ends[0]) if len(ends) else shared
    # Images of one size are the same tokens whatever they show.
    for place, (start, end) in enumerate(spans(first.input_ids == image_pad_id)):
        if start < shared and (end > shared or not all(_same_image(first, other, place) for other in dialogues[1:])):
            return int(start)
    return shared


def _same_image(one: EncodedDialogue, other: EncodedDialogue, place: int) -> bool:
    import torch

    ours, theirs = one.images[place], other.images[place]
    return torch.equal(one.image_grid_thw[place], other.image_grid_thw[place]) and (
        ours is theirs or torch.equal(ours, theirs)
    )


def collate(rows: Sequence[Row], pad_id: int) -> dict[str, Any]:
    """A batch of rows as `training.log_probs.token_logprobs` takes it.

    Keyword arguments of the model, padded on the right, with `labels` and `predictor` (rows, longest) beside them, and
    `lengths`, which say who sees whom; see `training.packed_attention`.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)

    def padded(name: str, fill: int) -> torch.Tensor:
        values = [getattr(row, name) for row in rows]
        return torch.from_numpy(np.stack([_pad(v, longest, fill) for v in values]))

    return {
        "input_ids": padded("input_ids", pad_id),
        "labels": padded("labels", IGNORED),
        "predictor": padded("predictor", 0),
        "position_ids": padded("position_ids", 0).transpose(0, 1).contiguous(),
        "lengths": tuple(tuple(np.bincount(row.branch).tolist()) for row in rows),
        "pixel_values": torch.cat([row.pixel_values for row in rows]),
        "image_grid_thw": torch.cat([row.image_grid_thw for row in rows]),
    }


def _pad(values: np.ndarray, length: int, fill: int) -> np.ndarray:
    width = [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])]
    return np.pad(values, width, constant_values=fill)
