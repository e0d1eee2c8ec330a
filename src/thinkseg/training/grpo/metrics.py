"""The metrics of a GRPO step, over the rollouts of all processes.

reward, reward_std                     total reward: mean and standard deviation (of a sample, N - 1) over rollouts
rewards/TERM/mean, rewards/TERM/std    the same of one reward, over the rollouts to which it applies
frac_reward_zero_std                   share of groups whose rollouts all have the same reward
parse_rate                             share of rollouts with a usable answer
parse_failure/REASON                   share of rollouts that fail for this reason; absent if there are none
completions/clipped_ratio              share of rollouts with a truncated reply
completions/mean_length, /max_length   tokens per rollout
keyframe_position/N, /none             share of usable answers with frame N of those shown as keyframe, or with none
entropy, kl                            mean over trained tokens, in nats
importance_weight/mean                 of trained tokens that vLLM sampled: probability here / there, before truncation
importance_weight/truncated            share of these tokens whose weight is above `rollout.importance_cap`
timing_s/rollout, /reward, /update     seconds per phase, mean over processes
step_time                              seconds per step, mean over processes
rollout_tokens_per_second              completion tokens per second of the rollout phase, sum over processes
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.types import Answer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class RolloutStats:
    """The values of one rollout that enter the metrics.

    keyframe_position: index among the frames shown, or "none"; None without a usable answer.
    informative: as `Group.informative` of its group; all groups have the same size.
    """

    score: RolloutScore
    failure: str | None
    truncated: bool
    num_tokens: int
    keyframe_position: str | None
    informative: bool


@dataclass(slots=True)
class StepStats:
    """One process's part of a step. Processes exchange these, so that each metric has the right denominator.

    seconds: per phase. num_tokens: trained tokens. entropy, kl: sums over them; kl is None without a reference.
    num_weighted, importance, num_truncated: tokens with an importance weight, the sum of the weights, and the tokens
        whose weight is truncated.
    """

    rollouts: list[RolloutStats] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    num_tokens: int = 0
    entropy: float = 0.0
    kl: float | None = None
    num_weighted: int = 0
    importance: float = 0.0
    num_truncated: int = 0


class StepMetrics:
    """Collects the `StepStats` of one process."""

    def __init__(self) -> None:
        self._stats: StepStats | None = None
        self._started = self._update_started = 0.0

    def start(self) -> None:
        """Begins a step."""
        self._stats = StepStats()
        self._started = time.perf_counter()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Records the seconds that the block takes."""
        started = time.perf_counter()
        yield
        self._current.seconds[phase] = time.perf_counter() - started

    def add_rollouts(self, groups: Sequence[Group]) -> None:
        """Adds scored groups. The update phase begins."""
        self._current.rollouts += rollout_stats(groups)
        self._update_started = time.perf_counter()

    def add_tokens(self, entropy: torch.Tensor, kl: torch.Tensor | None) -> None:
        """Adds trained tokens. entropy, kl: per token (N,)."""
        stats = self._current
        stats.num_tokens += len(entropy)
        stats.entropy += float(entropy.sum())
        if kl is not None:
            stats.kl = (stats.kl or 0.0) + float(kl.sum())

    def add_importance(self, weights: torch.Tensor, cap: float | None) -> None:
        """Adds the importance weights of trained tokens, (N,), before they are truncated at `cap`."""
        stats = self._current
        stats.num_weighted += len(weights)
        stats.importance += float(weights.sum())
        stats.num_truncated += 0 if cap is None else int((weights > cap).sum())

    def pop(self) -> StepStats | None:
        """Ends the step and returns its stats; None if no step has begun since the last call."""
        stats, self._stats = self._stats, None
        if stats:
            now = time.perf_counter()
            stats.seconds |= {"update": now - self._update_started, "step": now - self._started}
        return stats

    @property
    def _current(self) -> StepStats:
        assert self._stats is not None, "start() begins a step"
        return self._stats


def rollout_stats(groups: Sequence[Group]) -> list[RolloutStats]:
    return [
        RolloutStats(
            score,
            outcome.failure,
            outcome.truncated,
            outcome.num_tokens,
            _keyframe_position(group.prompt, outcome.answer),
            group.informative,
        )
        for group in groups
        for outcome, score in zip(group.outcomes, group.scores, strict=True)
    ]


def _keyframe_position(prompt: Prompt, answer: Answer | None) -> str | None:
    if answer is None:
        return None
    return "none" if answer.keyframe is None else str(prompt.frame_indices.index(answer.keyframe))


def reduce_metrics(parts: Sequence[StepStats | None]) -> dict[str, float]:
    """Returns the metrics of a step from the stats of each process; none if no step has begun."""
    stats = [part for part in parts if part]
    if not stats:
        return {}
    rollouts = [rollout for part in stats for rollout in part.rollouts]
    return rollout_metrics(rollouts) | _timing_metrics(stats) | _token_metrics(stats) | _importance_metrics(stats)


def rollout_metrics(rollouts: Sequence[RolloutStats]) -> dict[str, float]:
    """Returns the metrics that depend on rollouts and scores only."""
    lengths = [one.num_tokens for one in rollouts]
    failures = [one.failure for one in rollouts if one.failure is not None]
    positions = [one.keyframe_position for one in rollouts if one.keyframe_position is not None]
    return {
        **_reward_metrics([one.score for one in rollouts]),
        "frac_reward_zero_std": _mean(not one.informative for one in rollouts),
        "parse_rate": 1 - len(failures) / len(rollouts),
        **_shares("parse_failure", failures, len(rollouts)),
        "completions/clipped_ratio": _mean(one.truncated for one in rollouts),
        "completions/mean_length": _mean(lengths),
        "completions/max_length": float(max(lengths)),
        **_shares("keyframe_position", positions, len(positions)),
    }


def _reward_metrics(scores: Sequence[RolloutScore]) -> dict[str, float]:
    totals = [score.total for score in scores]
    metrics = {"reward": _mean(totals), "reward_std": _std(totals)}
    for term in scores[0].terms:
        values = [value for score in scores if (value := score.terms[term]) is not None]
        if values:
            metrics |= {f"rewards/{term}/mean": _mean(values), f"rewards/{term}/std": _std(values)}
    return metrics


def _timing_metrics(stats: Sequence[StepStats]) -> dict[str, float]:
    rates = [sum(one.num_tokens for one in part.rollouts) / part.seconds["rollout"] for part in stats]
    phases = ("rollout", "reward", "update")
    return {
        **{f"timing_s/{phase}": _mean(part.seconds[phase] for part in stats) for phase in phases},
        "step_time": _mean(part.seconds["step"] for part in stats),
        "rollout_tokens_per_second": sum(rates),
    }


def _token_metrics(stats: Sequence[StepStats]) -> dict[str, float]:
    count = sum(part.num_tokens for part in stats)
    if not count:
        return {}
    kls = [part.kl for part in stats if part.kl is not None]
    metrics = {"entropy": sum(part.entropy for part in stats) / count}
    return metrics | {"kl": sum(kls) / count} if kls else metrics


def _importance_metrics(stats: Sequence[StepStats]) -> dict[str, float]:
    count = sum(part.num_weighted for part in stats)
    if not count:
        return {}
    return {
        "importance_weight/mean": sum(part.importance for part in stats) / count,
        "importance_weight/truncated": sum(part.num_truncated for part in stats) / count,
    }


def _shares(prefix: str, names: Sequence[str], total: int) -> dict[str, float]:
    return {f"{prefix}/{name}": count / total for name, count in sorted(Counter(names).items())}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _std(values: Sequence[float]) -> float:
    """Returns the sample standard deviation (N - 1); 0 for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
