from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.training.grpo.loss import (
    KL_LIMIT,
    LossType,
    advantages,
    importance_weights,
    kl_estimate,
    policy_loss,
    token_weights,
)


def test_advantages_match_hand_computed() -> None:
    # mean 2, sample variance ((1 + 1 + 0 + 0) / 3)
    std = np.sqrt(2 / 3)
    assert advantages([1, 3, 2, 2]) == pytest.approx([-1 / (std + 1e-6), 1 / (std + 1e-6), 0, 0])
    assert advantages([1, 3, 2, 2], scale_rewards=False).tolist() == [-1, 1, 0, 0]


@pytest.mark.parametrize("rewards", [[], [0.3], [0.1] * 7, [0.1 + 0.2] * 3])
def test_advantages_equal_rewards_returns_zeros(rewards: list[float]) -> None:
    assert advantages(rewards).tolist() == [0.0] * len(rewards)


@given(st.lists(st.floats(0, 4), min_size=2, max_size=12), st.booleans())
def test_advantages_any_rewards_sum_to_0_in_order(rewards: list[float], scale_rewards: bool) -> None:
    found = advantages(rewards, scale_rewards)
    assert np.isfinite(found).all()
    assert abs(found.sum()) < 1e-6
    assert (np.diff(found[np.argsort(rewards)]) >= 0).all()


def test_token_weights_of_each_loss_type_match_hand_computed() -> None:
    """Rollouts of 2 and 6 tokens and a masked one; the limit per rollout is 10."""
    lengths = [2, 6, 0]
    assert token_weights(lengths, "grpo", 10).tolist() == pytest.approx([1 / 6, 1 / 18, 0])
    assert token_weights(lengths, "dr_grpo", 10).tolist() == pytest.approx([1 / 30, 1 / 30, 0])
    assert token_weights(lengths, "dapo", 10).tolist() == [1 / 8, 1 / 8, 0]


@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_token_weights_all_masked_returns_zeros(loss_type: str) -> None:
    assert token_weights([0, 0], loss_type, 10).tolist() == [0, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_token_weights_any_lengths_add_up(lengths: list[int]) -> None:
    kept = np.mean([length > 0 for length in lengths])
    assert (token_weights(lengths, "grpo", 50) * lengths).sum() == pytest.approx(kept)
    assert (token_weights(lengths, "dapo", 50) * lengths).sum() == pytest.approx(1)
    assert (token_weights(lengths, "dr_grpo", 50) * lengths).sum() <= 1 + 1e-9


def test_kl_estimate_matches_hand_computed() -> None:
    logp, reference = torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([-1.0, -2.0, -0.5])
    expected = [0.0, np.exp(-1) + 1 - 1, np.exp(0.5) - 0.5 - 1]
    assert kl_estimate(logp, reference).tolist() == pytest.approx(expected, abs=1e-6)


def test_kl_estimate_far_apart_is_limited() -> None:
    far = kl_estimate(torch.tensor([-100.0, -1.0]), torch.tensor([-1.0, -100.0]))
    assert far.tolist() == [KL_LIMIT, KL_LIMIT]


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_kl_estimate_any_values_nonnegative(one: float, other: float) -> None:
    assert float(kl_estimate(torch.tensor([one]), torch.tensor([other]))) >= -1e-6


def test_importance_weights_are_ratios_without_gradient() -> None:
    logp = torch.tensor([0.5, 0.2, 0.1]).log().requires_grad_()
    weights = importance_weights(logp, torch.tensor([0.5, 0.1, 0.4]).log())
    assert weights.tolist() == pytest.approx([1, 2, 0.25])
    assert not weights.requires_grad


def test_importance_weights_far_apart_are_finite() -> None:
    assert importance_weights(torch.tensor([0.0]), torch.tensor([-9999.0])).isfinite().all()


def test_policy_loss_without_reference_matches_hand_computed() -> None:
    logp = torch.tensor([-0.5, -1.5], requires_grad=True)
    advantage, weight = torch.tensor([2.0, -1.0]), torch.tensor([0.25, 0.5])
    loss = policy_loss(logp, advantage, weight)
    assert loss.item() == pytest.approx(-(0.25 * 2 - 0.5))
    loss.backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_policy_loss_with_reference_matches_hand_computed() -> None:
    logp = torch.tensor([-0.5], requires_grad=True)
    reference = torch.tensor([-1.0])
    loss = policy_loss(logp, torch.tensor([2.0]), torch.tensor([1.0]), kl_estimate(logp, reference), beta=0.1)
    loss.backward()
    assert logp.grad is not None
    # d/dp (exp(q - p) - (q - p) - 1) = 1 - exp(q - p)
    assert logp.grad.tolist() == pytest.approx([-2 + 0.1 * (1 - np.exp(-0.5))])


def trl_loss(
    loss_type: str,
    beta: float,
    logp: torch.Tensor,
    reference: torch.Tensor,
    mask: torch.Tensor,
    advantage: torch.Tensor,
) -> torch.Tensor:
    """The loss of TRL for log-probabilities (rollouts, tokens): `GRPOTrainer._compute_loss`, called on a stub."""
    from trl import GRPOTrainer

    stub: Any = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, torch.zeros_like(logp), None),
        _metrics={"train": {name: [] for name in ("kl", "entropy", *CLIPPED)}},
        accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, **_: x),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_high=0.2,
        epsilon_low=0.2,
        importance_sampling_level="token",
        loss_type=loss_type,
        max_completion_length=MAX_TOKENS,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
    )
    ids = torch.zeros_like(mask)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": mask[:, :1],
        "completion_ids": ids,
        "completion_mask": mask,
        "advantages": advantage,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    return GRPOTrainer._compute_loss(stub, None, inputs)


CLIPPED = [f"clip_ratio/{name}" for name in ("low_mean", "high_mean", "region_mean", "low_min", "high_max")]
MAX_TOKENS = 9


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_policy_loss_and_gradient_match_trl(loss_type: str, beta: float) -> None:
    """The KL stays below `KL_LIMIT`, since TRL has no such limit."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([4, 7, 1, 0, 5])
    mask = (torch.arange(7) < lengths[:, None]).long()
    logp = -torch.rand(5, 7, generator=generator) * 3
    reference = logp + torch.randn(5, 7, generator=generator) * 0.3
    advantage = torch.from_numpy(advantages([0.1, 2.0, 0.4, 0.0, 1.0])).float()

    theirs = logp.clone().requires_grad_()
    expected = trl_loss(loss_type, beta, theirs, reference, mask, advantage)
    expected.backward()

    ours = logp.clone().requires_grad_()
    at = mask.bool()
    weight = torch.from_numpy(token_weights(lengths.tolist(), loss_type, MAX_TOKENS)).float()[:, None].expand_as(logp)
    kl = kl_estimate(ours[at], reference[at]) if beta else None
    loss = policy_loss(ours[at], advantage[:, None].expand_as(logp)[at], weight[at], kl, beta)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert theirs.grad is not None
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-5)
