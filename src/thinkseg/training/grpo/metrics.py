"""What a reinforcement run tells of each step: groups in, named figures out.

reward, reward/boxes        mean over rollouts of the total, and of each term where it applies
parsed, truncated           shares of rollouts; failed/boxes: share that failed for this reason
teaching                    share of groups in which some rollout did better than another
tokens, tokens_most         length of what was written, mean and longest
keyframe/0, ..., none       share of usable answers that choose the first frame shown, ..., or none
kl, entropy                 mean over the tokens trained on, in nats
seconds/rollout, ...        time of each phase; tokens_a_second: written, in the rollout phase
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thinkseg.rewards.groups import Group

if TYPE_CHECKING:
    import torch

JOINED: Mapping[str, Callable[[Iterable[float]], float]] = {"tokens_most": max, "tokens_a_second": sum}
"""What becomes of figures of several processes that are not averaged."""


def told(groups: Sequence[Group], terms: Iterable[str]) -> dict[str, float]:
    """The figures of one step that its rollouts tell."""
    outcomes = [outcome for group in groups for outcome in group.outcomes]
    scores = [score for group in groups for score in group.scores]
    lengths = [outcome.num_tokens for outcome in outcomes]
    facts = {"reward": _mean(score.total for score in scores)}
    for term in terms:
        values = [value for score in scores if (value := score.terms[term]) is not None]
        if values:
            facts[f"reward/{term}"] = _mean(values)
    facts["parsed"] = _mean(outcome.failure is None for outcome in outcomes)
    facts["truncated"] = _mean(outcome.truncated for outcome in outcomes)
    for reason, count in sorted(Counter(o.failure for o in outcomes if o.failure is not None).items()):
        facts[f"failed/{reason}"] = count / len(outcomes)
    facts["teaching"] = _mean(group.informative for group in groups)
    facts |= {"tokens": _mean(lengths), "tokens_most": float(max(lengths)), "written": float(sum(lengths))}
    return facts | _keyframes(groups)


def _keyframes(groups: Sequence[Group]) -> dict[str, float]:
    """How often each of the frames shown, by its place, or none of them was chosen."""
    chosen: Counter[str] = Counter()
    for group in groups:
        for outcome in group.outcomes:
            if outcome.answer is not None:
                keyframe = outcome.answer.keyframe
                chosen["none" if keyframe is None else str(group.prompt.frame_indices.index(keyframe))] += 1
    return {f"keyframe/{place}": count / chosen.total() for place, count in sorted(chosen.items())}


class StepMetrics:
    """Gathers the figures of a step from its phases, one after another."""

    def __init__(self) -> None:
        self._facts: dict[str, float] = {}
        self._since = time.perf_counter()
        self._entropy = 0.0
        self._kl: float | None = None
        self._tokens = 0

    def begin(self, facts: Mapping[str, float], rollout_seconds: float, reward_seconds: float) -> None:
        """A step has been rolled out and scored; `facts` are as `told` makes them."""
        self._facts = dict(facts)
        written = self._facts.pop("written")
        self._facts["seconds/rollout"] = rollout_seconds
        self._facts["seconds/reward"] = reward_seconds
        self._facts["tokens_a_second"] = written / rollout_seconds
        self._entropy, self._kl, self._tokens = 0.0, None, 0
        self._since = time.perf_counter()

    def learned(self, entropy: torch.Tensor, kl: torch.Tensor | None) -> None:
        """Some tokens have been trained on: the entropy of each (N,), and its KL if there is one."""
        self._entropy += float(entropy.sum())
        if kl is not None:
            self._kl = (self._kl or 0.0) + float(kl.sum())
        self._tokens += len(entropy)

    def end(self) -> dict[str, float]:
        """All figures of the step that has just been logged, once; none if no step has begun since."""
        facts, self._facts = self._facts, {}
        if facts:
            facts["seconds/update"] = time.perf_counter() - self._since
        if facts and self._tokens:
            facts["entropy"] = self._entropy / self._tokens
        if facts and self._kl is not None:
            facts["kl"] = self._kl / self._tokens
        return facts


def joined(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The figures of a step that was shared out: means over the processes that have them, and what they write together.

    parts: what `StepMetrics.end` told in each process. A reason that a process does not name is no failure of its own.
    """
    facts = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        absent = [0.0] * name.startswith("failed/")
        values = [value for part in parts for value in ([part[name]] if name in part else absent)]
        facts[name] = JOINED.get(name, _mean)(values)
    return facts


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
