"""The arithmetic of GRPO (DeepSeekMath, arXiv 2402.03300): rewards to advantages, log-probabilities to a loss.

Rollouts are used once, for one step, by the very policy that wrote them (strictly on-policy, as both papers train). The
ratio of the new policy to the old is then 1 where the gradient is taken, and there is nothing for PPO to clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

KL_LIMIT, LOG_RATIO_LIMIT = 10.0, 20.0
"""Where the KL estimate of one token, and the log-ratio it is made from, are cut off, as verl does."""

EPSILON = 1e-6


def advantages(rewards: Sequence[float], scale_rewards: bool = True) -> np.ndarray:
    """How much better than its group each rollout did: (r - mean) / (std + 1e-6), float64 (G,).

    scale_rewards: whether to divide by the standard deviation (of a sample, N - 1), unlike Dr. GRPO (2503.20783).
    A group in which all did equally well is all zeros, exactly.
    """
    values = np.asarray(rewards, np.float64)
    if len(values) < 2 or (values == values[0]).all():
        return np.zeros(len(values))
    centred = values - values.mean()
    return centred / (values.std(ddof=1) + EPSILON) if scale_rewards else centred


def token_weights(lengths: Sequence[int], loss_type: str, max_tokens: int) -> np.ndarray:
    """What each token of each rollout of a step weighs in the loss, float64 (rollouts,).

    lengths: trained tokens of each rollout, 0 for one that is left out; it is still counted as a rollout.
    loss_type: one of `LossType`. max_tokens: the most that a rollout may have.
    """
    counts = np.asarray(lengths, np.float64)
    share = {
        "grpo": 1 / (np.maximum(counts, 1) * len(counts)),
        "dr_grpo": np.full(len(counts), 1 / (max_tokens * len(counts))),
        "dapo": np.full(len(counts), 1 / max(counts.sum(), 1)),
    }[loss_type]
    return np.where(counts > 0, share, 0.0)


LossType = Literal["grpo", "dr_grpo", "dapo"]
"""grpo: mean over rollouts of their mean over tokens. dr_grpo: a rollout's sum over the most tokens it may have, mean
over rollouts (arXiv 2503.20783). dapo: mean over all tokens of the step (arXiv 2503.14476)."""


def kl_estimate(logp: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """k3, a KL of the policy from the reference for each token: exp(q - p) - (q - p) - 1, at most `KL_LIMIT`.

    logp, reference: log-probabilities p and q of the tokens written, (N,). See http://joschu.net/blog/kl-approx.html
    """
    log_ratio = (reference - logp).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (log_ratio.exp() - log_ratio - 1).clamp(max=KL_LIMIT)


def policy_loss(
    logp: torch.Tensor,
    advantage: torch.Tensor,
    weight: torch.Tensor,
    kl: torch.Tensor | None = None,
    beta: float = 0.0,
) -> torch.Tensor:
    """The share of a step's loss of some of its tokens, a scalar: shares of all tokens add up to the loss.

    logp, advantage, weight, kl: of each token (N,); see `advantages`, `token_weights`, `kl_estimate`.
    """
    # Worth the advantage itself, with the gradient of advantage x log-probability.
    gain = (logp - logp.detach()).exp() * advantage
    return (weight * (gain.neg() if kl is None else beta * kl - gain)).sum()
