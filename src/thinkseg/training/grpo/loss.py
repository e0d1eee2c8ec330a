"""Advantages, token weights, KL estimate and loss of GRPO (DeepSeekMath, arXiv 2402.03300).

Training is strictly on-policy, as in both papers: each rollout is used for one update of the policy that sampled it.
The probability ratio is then 1 where the gradient is taken, so PPO's clipping has no effect and is omitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

KL_LIMIT, LOG_RATIO_LIMIT = 10.0, 20.0
"""Limits of the KL estimate of one token and of the log-ratio it is computed from; the values of verl."""

EPSILON = 1e-6


def advantages(rewards: Sequence[float], scale_rewards: bool = True) -> np.ndarray:
    """Returns the advantage of each rollout of a group, (r - mean) / (std + 1e-6), float64 (G,).

    scale_rewards: whether to divide by the sample standard deviation (N - 1); Dr. GRPO (arXiv 2503.20783) does not.
    Equal rewards give exact zeros.
    """
    values = np.asarray(rewards, np.float64)
    if len(values) < 2 or (values == values[0]).all():
        return np.zeros(len(values))
    centered = values - values.mean()
    return centered / (values.std(ddof=1) + EPSILON) if scale_rewards else centered


def token_weights(lengths: Sequence[int], loss_type: str, max_tokens: int) -> np.ndarray:
    """Returns the loss weight of one token of each rollout of a step, float64 (rollouts,).

    lengths: trained tokens per rollout; a masked rollout has 0, and still counts as a rollout.
    loss_type: one of `LossType`. max_tokens: upper limit per rollout.
    """
    counts = np.asarray(lengths, np.float64)
    share = {
        "grpo": 1 / (np.maximum(counts, 1) * len(counts)),
        "dr_grpo": np.full(len(counts), 1 / (max_tokens * len(counts))),
        "dapo": np.full(len(counts), 1 / max(counts.sum(), 1)),
    }[loss_type]
    return np.where(counts > 0, share, 0.0)


LossType = Literal["grpo", "dr_grpo", "dapo"]
"""grpo: mean over the tokens of a rollout, then mean over rollouts. dr_grpo: sum over the tokens of a rollout divided
by `max_tokens`, then mean over rollouts (arXiv 2503.20783). dapo: mean over all tokens of a step (arXiv 2503.14476)."""


def kl_estimate(logp: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns the k3 estimate of the KL from the reference, exp(q - p) - (q - p) - 1 per token, at most `KL_LIMIT`.

    logp, reference: log-probabilities p and q of the sampled tokens, (N,). See http://joschu.net/blog/kl-approx.html
    """
    log_ratio = (reference - logp).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (log_ratio.exp() - log_ratio - 1).clamp(max=KL_LIMIT)


def importance_weights(logp: torch.Tensor, sampled_logp: torch.Tensor) -> torch.Tensor:
    """Returns the probability of each sampled token in training divided by that in the engine that sampled it, (N,).

    Without a gradient. Truncated from above, such weights correct that two engines compute the same policy with other
    kernels or another precision (truncated importance sampling, https://fengyao.notion.site/off-policy-rl).
    logp, sampled_logp: log-probabilities, (N,).
    """
    return (logp.detach() - sampled_logp).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def policy_loss(
    logp: torch.Tensor,
    advantage: torch.Tensor,
    weight: torch.Tensor,
    kl: torch.Tensor | None = None,
    beta: float = 0.0,
) -> torch.Tensor:
    """Returns the part of a step's loss that some of its tokens contribute, a scalar. The loss is the sum of all parts.

    logp, advantage, weight, kl: per token (N,); see `advantages`, `token_weights`, `kl_estimate`.
    """
    # Its value is the advantage, its gradient that of advantage x log-probability.
    gain = (logp - logp.detach()).exp() * advantage
    return (weight * (gain.neg() if kl is None else beta * kl - gain)).sum()
