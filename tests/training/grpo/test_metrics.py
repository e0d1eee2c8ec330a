import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from thinkseg.data.shapes import load
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.training.grpo.metrics import (
    StepMetrics,
    StepStats,
    reduce_metrics,
    rollout_metrics,
    rollout_stats,
)
from thinkseg.types import Answer, Outcome

BOXES = np.zeros((0, 4), np.float32)
SECONDS = {"rollout": 4.0, "reward": 0.5, "update": 2.0, "step": 7.0}


def answered(keyframe: int | None, tokens: int) -> Outcome:
    return Outcome(Answer("", keyframe, BOXES), None, (), num_tokens=tokens)


def groups() -> list[Group]:
    """Two groups of two; the frames shown are 3 and 9."""
    prompt = Prompt(load("train", 0, (32, 32)), (3, 9))
    outcomes = [answered(9, 4), Outcome(None, "invalid_tags", (), num_tokens=6)]
    others = [answered(None, 2), Outcome(None, "truncated", (), truncated=True, num_tokens=8)]
    scores = [RolloutScore({"boxes": 0.5, "keyframe": None}, 0.5), RolloutScore({"boxes": 0.0, "keyframe": None}, 0.0)]
    same = [RolloutScore({"boxes": None, "keyframe": None}, 1.0)] * 2
    return [
        Group(prompt, tuple(outcomes), tuple(scores), np.array([0.7, -0.7])),
        Group(prompt, tuple(others), tuple(same), np.zeros(2)),
    ]


def part(chosen: Sequence[Group], num_tokens: int = 0, entropy: float = 0.0, kl: float | None = None) -> StepStats:
    return StepStats(rollout_stats(chosen), dict(SECONDS), num_tokens, entropy, kl)


def test_rollout_metrics_two_groups_match_hand_computed() -> None:
    assert rollout_metrics(rollout_stats(groups())) == {
        "reward": 0.625,
        "reward_std": pytest.approx(math.sqrt((0.125**2 + 0.625**2 + 2 * 0.375**2) / 3)),
        "rewards/boxes/mean": 0.25,
        "rewards/boxes/std": pytest.approx(math.sqrt(2 * 0.25**2)),
        "frac_reward_zero_std": 0.5,
        "parse_rate": 0.5,
        "parse_failure/invalid_tags": 0.25,
        "parse_failure/truncated": 0.25,
        "completions/clipped_ratio": 0.25,
        "completions/mean_length": 5.0,
        "completions/max_length": 8.0,
        "keyframe_position/1": 0.5,
        "keyframe_position/none": 0.5,
    }


def test_rollout_metrics_reward_of_one_rollout_has_std_0() -> None:
    (first, *_) = rollout_stats(groups())
    metrics = rollout_metrics([first])
    assert (metrics["reward_std"], metrics["rewards/boxes/std"]) == (0, 0)


def test_reduce_metrics_one_group_per_process_matches_one_process() -> None:
    """Only one process has boxes to reward, and each keyframe position and failure occurs in one process only."""
    first, second = groups()
    together = reduce_metrics([part([first, second], num_tokens=40, entropy=20.0, kl=4.0)])
    split = reduce_metrics([part([first], 10, 8.0, 1.0), part([second], 30, 12.0, 3.0)])
    assert (together["keyframe_position/1"], together["keyframe_position/none"]) == (0.5, 0.5)
    assert (together["entropy"], together["kl"]) == (0.5, 0.1)
    assert split == together


def test_reduce_metrics_uneven_answers_give_shares_that_add_up_to_1() -> None:
    first, second = groups()
    metrics = reduce_metrics([part([first, first, first]), part([second])])
    assert metrics["keyframe_position/1"] == 0.75
    assert metrics["keyframe_position/none"] == 0.25
    assert metrics["rewards/boxes/mean"] == 0.25


def test_reduce_metrics_timing_averages_seconds_and_adds_up_rates() -> None:
    slow = StepStats(rollout_stats(groups()), {"rollout": 2.0, "reward": 1.5, "update": 4.0, "step": 9.0})
    metrics = reduce_metrics([part(groups()), slow])
    assert {name: metrics[name] for name in ("timing_s/rollout", "timing_s/reward", "timing_s/update")} == {
        "timing_s/rollout": 3.0,
        "timing_s/reward": 1.0,
        "timing_s/update": 3.0,
    }
    assert metrics["step_time"] == 8.0
    assert metrics["rollout_tokens_per_second"] == 20 / 4 + 20 / 2


def test_step_metrics_pop_returns_each_step_once() -> None:
    metrics = StepMetrics()
    assert metrics.pop() is None
    metrics.start()
    with metrics.timed("rollout"):
        pass
    metrics.add_rollouts(groups())
    metrics.add_tokens(torch.full((3,), np.log(8)), torch.tensor([0.1, 0.2, 0.3]))
    metrics.add_tokens(torch.tensor([np.log(4)]), torch.tensor([0.4]))
    stats = metrics.pop()
    assert stats is not None
    assert stats.rollouts == rollout_stats(groups())
    assert (stats.num_tokens, stats.entropy, stats.kl) == (
        4,
        pytest.approx(3 * np.log(8) + np.log(4)),
        pytest.approx(1),
    )
    assert stats.seconds.keys() == {"rollout", "update", "step"}
    assert stats.seconds["step"] >= stats.seconds["update"] >= 0
    assert metrics.pop() is None
    assert reduce_metrics([None, None]) == {}


def test_reduce_metrics_without_trained_tokens_or_reference_omits_them() -> None:
    assert not {"entropy", "kl"} & reduce_metrics([part(groups())]).keys()
    metrics = reduce_metrics([part(groups(), num_tokens=5, entropy=5.0), part(groups())])
    assert metrics["entropy"] == 1
    assert "kl" not in metrics


def test_reduce_metrics_importance_weights_are_of_all_processes() -> None:
    parts = []
    for weights in ([1.0, 4.0], [0.5, 0.5, 1.5, 3.0]):
        metrics = StepMetrics()
        metrics.start()
        with metrics.timed("rollout"), metrics.timed("reward"):
            pass
        metrics.add_rollouts(groups())
        metrics.add_importance(torch.tensor(weights), cap=2.0)
        parts.append(metrics.pop())
    found = reduce_metrics(parts)
    assert found["importance_weight/mean"] == pytest.approx(10.5 / 6)
    assert found["importance_weight/truncated"] == pytest.approx(2 / 6)
    assert "importance_weight/mean" not in reduce_metrics([part(groups())])
