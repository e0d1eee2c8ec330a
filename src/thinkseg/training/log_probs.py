"""What a model makes of packed rows: a batch of `training.packing.collate` in, how likely it finds the trained words
out.

Logits of all trained words at once would take more memory than all else, with a vocabulary of 150,000. So they are made
a part at a time, within the model's own forward pass, and again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from thinkseg.models.policies.qwen.encoder import IGNORED

if TYPE_CHECKING:
    import torch

LOGITS_AT_ONCE = 2**26
"""Logits that are made at a time: 256 MiB of them in fp32, and some copies."""


class TokenLogprobs(NamedTuple):
    """Of the N labelled tokens of a batch, row by row in order, float32 (N,) each.

    logp: the log-probability of each. entropy: of what might have stood in its place, in nats, without a gradient.
    """

    logp: torch.Tensor
    entropy: torch.Tensor


def tokens_at_once(vocabulary: int) -> int:
    """How many tokens' logits are made at a time."""
    return max(1, LOGITS_AT_ONCE // vocabulary)


def token_logprobs(model: Any, batch: dict[str, Any], temperature: float = 1.0) -> TokenLogprobs:
    """How likely a model finds the labels of a batch. temperature: of the policy that is asked about."""
    import torch

    from thinkseg.training.packed_attention import attend_by_branches, part_of

    attend_by_branches(model)
    head = part_of(model, "lm_head")
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "predictor")}
    rows, places = torch.nonzero(batch["labels"] != IGNORED, as_tuple=True)
    labels = batch["labels"][rows, places]
    # Only places that predict a labelled token in some row come to the head.
    wanted, at = torch.unique(batch["predictor"][rows, places], return_inverse=True)

    def told(hidden: torch.Tensor) -> torch.Tensor:
        return _in_parts(head, hidden[rows, at], labels, temperature)

    with _in_place_of_forward(head, told):
        logp, entropy = model(**inputs, use_cache=False, logits_to_keep=wanted).logits.unbind(-1)
    return TokenLogprobs(logp, entropy.detach())


def causal_lm_loss(model: Any, batch: dict[str, Any], num_items: Any = None) -> torch.Tensor:
    """Cross-entropy of a batch, summed and divided by `num_items` (its own labelled tokens if None)."""
    logp = token_logprobs(model, batch).logp
    return logp.sum().neg() / (len(logp) if num_items is None else num_items)


@contextmanager
def _in_place_of_forward(module: Any, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Has a module do something else for the while. It is still called by its model, whatever that is wrapped in."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def _in_parts(head: Any, hidden: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probability and entropy (N, 2) of labels (N,) from what the head is given of them (N, channels)."""
    import torch
    from torch.utils.checkpoint import checkpoint

    at_once = tokens_at_once(len(head.weight))
    if len(labels) <= at_once:
        return _of_part(hidden, head.weight, labels, temperature)
    parts = zip(hidden.split(at_once), labels.split(at_once), strict=True)
    return torch.cat(
        [checkpoint(_of_part, one, head.weight, wanted, temperature, use_reentrant=False) for one, wanted in parts]
    )


def _of_part(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    import torch
    from torch.nn import functional

    logits = functional.linear(hidden, weight).float() / temperature
    logp = functional.cross_entropy(logits, labels, reduction="none").neg()
    with torch.no_grad():
        logarithms = logits.log_softmax(-1)
        entropy = (logarithms.exp() * logarithms).sum(-1).neg()
    return torch.stack([logp, entropy], -1)
