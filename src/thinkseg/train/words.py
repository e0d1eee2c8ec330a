"""What a model makes of packed rows: a batch of `train.packing.collate` in, logits of its trained words out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thinkseg.models.encoder import IGNORED

if TYPE_CHECKING:
    import torch


def predictions(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, vocabulary), fp32, and labels (N,) of the N labelled tokens of a batch, row by row in order."""
    import torch

    inputs = {k: v for k, v in batch.items() if k not in ("labels", "predictor")}
    rows, places = torch.nonzero(batch["labels"] != IGNORED, as_tuple=True)
    sources = batch["predictor"][rows, places]
    # Logits are only made at places that predict a labelled token in some row.
    wanted, at = torch.unique(sources, return_inverse=True)
    logits = model(**inputs, use_cache=False, logits_to_keep=wanted).logits
    return logits[rows, at].float(), batch["labels"][rows, places]


def words_loss(model: Any, batch: dict[str, Any], num_items: Any = None) -> torch.Tensor:
    """Cross-entropy of a batch, summed and divided by `num_items` (its own labelled tokens if None)."""
    from torch.nn import functional

    logits, labels = predictions(model, batch)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return loss / (len(labels) if num_items is None else num_items)
