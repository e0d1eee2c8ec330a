"""Log-probabilities of the labels of packed rows, and the loss from them.

With a vocabulary of 150,000, the logits of all labels would take more memory than everything else. They are therefore
computed in chunks within the model's forward pass, and again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from thinkseg.models.policies.qwen.encoder import IGNORED

if TYPE_CHECKING:
    import torch

LOGITS_PER_CHUNK = 2**26
"""Logits computed at the same time: 256 MiB in fp32, and a few copies of them."""


class TokenLogprobs(NamedTuple):
    """Values of the N labels of a batch, row by row in order, float32 (N,) each.

    logp: log-probability of the label. entropy: of the distribution it is drawn from, in nats, without a gradient.
    """

    logp: torch.Tensor
    entropy: torch.Tensor


def logits_chunk_tokens(vocab_size: int) -> int:
    """Number of tokens whose logits are computed at the same time."""
    return max(1, LOGITS_PER_CHUNK // vocab_size)


def token_logprobs(model: Any, batch: dict[str, Any], temperature: float = 1.0) -> TokenLogprobs:
    """Computes the log-probabilities of a batch's labels under the model.

    batch: from `training.packing.collate`. temperature: divides the logits.
    """
    import torch

    from thinkseg.training.packed_attention import attend_by_branches, submodule

    attend_by_branches(model)
    head = submodule(model, "lm_head")
    inputs = {k: v for k, v in batch.items() if k not in ("labels", "predictor_index")}
    rows, columns = torch.nonzero(batch["labels"] != IGNORED, as_tuple=True)
    labels = batch["labels"][rows, columns]
    # Only positions that predict a label in some row are passed to the head.
    kept, at = torch.unique(batch["predictor_index"][rows, columns], return_inverse=True)

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        return _in_chunks(head, hidden[rows, at], labels, temperature)

    with _replaced_forward(head, forward):
        logp, entropy = model(**inputs, use_cache=False, logits_to_keep=kept).logits.unbind(-1)
    return TokenLogprobs(logp, entropy.detach())


def causal_lm_loss(model: Any, batch: dict[str, Any], num_items: Any = None) -> torch.Tensor:
    """Cross-entropy summed over a batch and divided by `num_items` (default: the number of its labels)."""
    logp = token_logprobs(model, batch).logp
    return logp.sum().neg() / (len(logp) if num_items is None else num_items)


@contextmanager
def _replaced_forward(module: Any, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replaces a module's forward method. Its model still calls it, so that wrappers of the model work as usual."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def _in_chunks(head: Any, hidden: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probability and entropy (N, 2) of labels (N,) from the inputs of the head (N, channels)."""
    import torch
    from torch.utils.checkpoint import checkpoint

    size = logits_chunk_tokens(len(head.weight))
    if len(labels) <= size:
        return _of_chunk(hidden, head.weight, labels, temperature)
    chunks = zip(hidden.split(size), labels.split(size), strict=True)
    return torch.cat(
        [checkpoint(_of_chunk, states, head.weight, ids, temperature, use_reentrant=False) for states, ids in chunks]
    )


def _of_chunk(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    import torch
    from torch.nn import functional

    logits = functional.linear(hidden, weight).float() / temperature
    logp = functional.cross_entropy(logits, labels, reduction="none").neg()
    with torch.no_grad():
        log_softmax = logits.log_softmax(-1)
        entropy = (log_softmax.exp() * log_softmax).sum(-1).neg()
    return torch.stack([logp, entropy], -1)
