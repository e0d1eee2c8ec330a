"""Prompts with their ground truth, rollouts, and the cases that all rewards about targets share (`target_reward`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps

import numpy as np

from thinkseg.types import Answer, Masklets, Outcome, VideoSample


@dataclass(frozen=True, eq=False)
class Prompt:
    """A sample and the frames shown. Caches the ground truth in these frames for all rollouts of a group.

    frame_indices: frames the policy can choose from, indices into the video, strictly ascending.
    """

    sample: VideoSample
    frame_indices: tuple[int, ...]

    @cached_property
    def areas(self) -> Mapping[int, int]:
        """Area in pixels of the merged targets, per frame shown. Raises ValueError if there is no ground truth."""
        return {frame: self._truth.area(frame) for frame in self.frame_indices}

    @cached_property
    def boxes(self) -> Mapping[int, np.ndarray]:
        """Boxes of the visible targets, float32 (M, 4), per frame shown. Raises ValueError as `areas` does."""
        return {frame: self._truth.boxes(frame) for frame in self.frame_indices}

    @cached_property
    def masklets(self) -> Masklets:
        """Ground truth of the frames shown only. Raises ValueError as `areas` does."""
        tracks = tuple(tuple(track[frame] for frame in self.frame_indices) for track in self._truth.rles)
        return Masklets(self._truth.size_wh, len(self.frame_indices), tracks)

    @property
    def shows_target(self) -> bool:
        """Whether the ground truth has a target that is visible in a frame shown."""
        return self.sample.truth is not None and max(self.areas.values(), default=0) > 0

    @property
    def _truth(self) -> Masklets:
        if self.sample.truth is None:
            raise ValueError(f"sample {self.sample.id!r} has no ground truth")
        return self.sample.truth


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One rollout of a prompt.

    masklets: tracked masks of the answer in the frames shown: mask i belongs to `prompt.frame_indices[i]`. None if
        nothing is tracked.
    """

    prompt: Prompt
    outcome: Outcome
    masklets: Masklets | None = None

    @property
    def answer(self) -> Answer | None:
        """None if a reply is invalid."""
        return self.outcome.answer

    @property
    def keyframe(self) -> int | None:
        """The chosen frame, even if the boxes on it are invalid."""
        return self.outcome.keyframe if self.answer is None else self.answer.keyframe

    @property
    def abstains(self) -> bool:
        """Whether the answer is that there is no target."""
        return self.answer is not None and self.answer.keyframe is None


RewardFunction = Callable[[Rollout], float | None]
"""Returns a number in [0, 1], or None if the reward does not apply, which depends on the prompt only."""


def target_reward(measure: Callable[[Rollout, int], float]) -> RewardFunction:
    """Makes a reward of a function that scores a chosen keyframe of a prompt with a visible target.

    measure: called with the rollout and its keyframe, one of `prompt.frame_indices`.

    The reward is None without ground truth, and where no target is visible in any frame shown. If there is no target,
    it is 1 for abstaining, else 0. If there is one, it is 0 for abstaining, for a keyframe that was not shown, and for
    a reply without a valid keyframe.
    """

    @wraps(measure)
    def reward(rollout: Rollout) -> float | None:
        prompt = rollout.prompt
        if prompt.sample.truth is None:
            return None
        if prompt.sample.truth.num_objects == 0:
            return float(rollout.abstains)
        if not prompt.shows_target:
            return None
        frame = rollout.keyframe
        return 0.0 if frame is None or frame not in prompt.frame_indices else measure(rollout, frame)

    return reward
