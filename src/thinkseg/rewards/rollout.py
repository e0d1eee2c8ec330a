"""What rewards look at: a prompt with its truth, and one attempt at it.

In: a sample, the frames that were shown and the `Outcome` of a dialogue. Out: a `Rollout`, and what holds for every
reward that asks about targets (`target_reward`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps

import numpy as np

from thinkseg.types import Answer, Masklets, Outcome, VideoSample


@dataclass(frozen=True, eq=False)
class Prompt:
    """What all rollouts of a group share; the truth is looked up once for all of them.

    shown: the frames a policy could choose from, indices into the whole video, strictly ascending.
    """

    sample: VideoSample
    shown: tuple[int, ...]

    @cached_property
    def areas(self) -> Mapping[int, int]:
        """Pixels of the targets, merged, in each frame shown. Raises ValueError if the truth is not known."""
        return {frame: self._truth.area(frame) for frame in self.shown}

    @cached_property
    def boxes(self) -> Mapping[int, np.ndarray]:
        """Boxes of the targets to be seen in each frame shown, float32 (M, 4). Raises ValueError as `areas` does."""
        return {frame: self._truth.boxes(frame) for frame in self.shown}

    @cached_property
    def masklets(self) -> Masklets:
        """The truth in the frames shown and no others. Raises ValueError as `areas` does."""
        tracks = tuple(tuple(track[frame] for frame in self.shown) for track in self._truth.rles)
        return Masklets(self._truth.size_wh, len(self.shown), tracks)

    @property
    def shows_target(self) -> bool:
        """Whether there is a target, known and to be seen in some frame shown."""
        return self.sample.truth is not None and max(self.areas.values(), default=0) > 0

    @property
    def _truth(self) -> Masklets:
        if self.sample.truth is None:
            raise ValueError(f"the truth of sample {self.sample.id!r} is not known")
        return self.sample.truth


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One attempt at a prompt.

    masklets: what a tracker made of the answer in the frames shown and no others: mask i belongs to `prompt.shown[i]`.
        None if nothing was tracked.
    """

    prompt: Prompt
    outcome: Outcome
    masklets: Masklets | None = None

    @property
    def answer(self) -> Answer | None:
        """None if a reply could not be used."""
        return self.outcome.answer

    @property
    def keyframe(self) -> int | None:
        """The frame chosen, even where no boxes on it could be read."""
        return self.outcome.keyframe if self.answer is None else self.answer.keyframe

    @property
    def abstains(self) -> bool:
        """Whether it says that there is no target."""
        return self.answer is not None and self.answer.keyframe is None


Reward = Callable[[Rollout], float | None]
"""A number in [0, 1], or None if it does not apply: that depends on the prompt alone, never on the attempt."""


def target_reward(measure: Callable[[Rollout, int], float]) -> Reward:
    """A reward about targets, from what it measures where one can be seen and a frame that was shown is chosen.

    measure: called with the rollout and the frame chosen.

    What is common to all of them: None if the truth is unknown or no frame shown holds any of the target, for then
    nothing that can be said is right. Without a target, 1 for saying so and 0 for all else. With one, 0 for saying
    there is none, for a frame that was not shown, and for a reply that names none.
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
        return 0.0 if frame is None or frame not in prompt.shown else measure(rollout, frame)

    return reward
