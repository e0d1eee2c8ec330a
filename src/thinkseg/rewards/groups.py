"""Scores groups of rollouts: all outcomes of one prompt.

Tracking is the expensive part. Equal answers are tracked once, over the frames shown only, and only if the reward
"consistency" has a weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.rewards import REWARDS, Prompt, Rollout, checked_weights
from thinkseg.rewards.veason import matched_boxes
from thinkseg.types import Frames, Masklets, Outcome, Tracker

_BoxPrompt = tuple[int, tuple[tuple[float, ...], ...]]
"""Prompt of a tracker: the keyframe's position among the frames shown, and the boxes on it, sorted."""


@dataclass(frozen=True, slots=True)
class RolloutScore:
    """Rewards of one rollout.

    terms: per reward that has a weight; None if it does not apply. total: weighted sum of the terms that apply.
    """

    terms: Mapping[str, float | None]
    total: float


def score_group(
    prompt: Prompt,
    outcomes: Sequence[Outcome],
    weights: Mapping[str, float],
    tracker: Tracker | None = None,
    frames: Frames | None = None,
) -> list[RolloutScore]:
    """Scores the outcomes of one prompt, in order.

    weights: by the names of `REWARDS`, see `checked_weights`. tracker: required by "consistency" only.
    frames: see `track`.

    Keeps no state, so other threads can score other groups at the same time, if no two of them share a video file.
    Raises SettingsError for invalid weights or a missing tracker. Errors of the tracker propagate.
    """
    chosen = checked_weights(weights)
    rollouts = [Rollout(prompt, outcome) for outcome in outcomes]
    if "consistency" in chosen:
        if tracker is None:
            raise SettingsError("reward 'consistency' requires a tracker; set one, or set the weight to 0")
        rollouts = track(rollouts, tracker, frames)
    return [_score(rollout, chosen) for rollout in rollouts]


def track(rollouts: Iterable[Rollout], tracker: Tracker, frames: Frames | None = None) -> list[Rollout]:
    """Adds the masks for "consistency" to rollouts of one prompt; rollouts without a matched box stay as they are.

    The tracker gets a video of the frames shown. Answers with the same boxes on the same keyframe, in any order, are
    tracked once. A tracker with an attribute `independent` that is true, whose masks of an object do not depend on
    other objects, gets all distinct boxes on a keyframe in one call.

    frames: that video, from `frames_shown` (default: made for this call). With the same one in several calls, a tracker
        can reuse the features of its frames.
    """
    rollouts = list(rollouts)
    box_prompts = [_box_prompt(rollout) for rollout in rollouts]
    distinct = list(dict.fromkeys(one for one in box_prompts if one is not None))
    if not distinct:
        return rollouts
    video = frames_shown(rollouts[0].prompt) if frames is None else frames
    track_all = _track_together if getattr(tracker, "independent", False) else _track_each
    masklets = track_all(distinct, video, tracker)
    return [
        rollout if one is None else replace(rollout, masklets=masklets[one])
        for rollout, one in zip(rollouts, box_prompts, strict=True)
    ]


def _box_prompt(rollout: Rollout) -> _BoxPrompt | None:
    """Returns the keyframe and boxes of a rollout to track; None if no box is matched."""
    boxes = matched_boxes(rollout)
    if len(boxes) == 0:
        return None
    assert rollout.keyframe is not None  # there are boxes on it
    return rollout.prompt.frame_indices.index(rollout.keyframe), tuple(sorted(map(tuple, boxes.tolist())))


def _track_each(box_prompts: Sequence[_BoxPrompt], video: Frames, tracker: Tracker) -> dict[_BoxPrompt, Masklets]:
    """Tracks with one call per answer."""
    return {(frame, boxes): tracker.track(video, frame, np.array(boxes, np.float32)) for frame, boxes in box_prompts}


def _track_together(box_prompts: Sequence[_BoxPrompt], video: Frames, tracker: Tracker) -> dict[_BoxPrompt, Masklets]:
    """Tracks with one call per keyframe, for all distinct boxes on it."""
    found: dict[_BoxPrompt, Masklets] = {}
    for frame in dict.fromkeys(frame for frame, _ in box_prompts):
        answers = [boxes for keyframe, boxes in box_prompts if keyframe == frame]
        distinct = list(dict.fromkeys(box for boxes in answers for box in boxes))
        masklets = tracker.track(video, frame, np.array(distinct, np.float32))
        for boxes in answers:
            found[frame, boxes] = masklets.objects([distinct.index(box) for box in boxes])
    return found


def _score(rollout: Rollout, weights: Mapping[str, float]) -> RolloutScore:
    terms = {name: REWARDS[name].function(rollout) for name in weights}
    return RolloutScore(terms, sum(weights[name] * term for name, term in terms.items() if term is not None))


def frames_shown(prompt: Prompt) -> Frames:
    """Returns the frames shown of a prompt as a video in memory, each decoded once."""
    from thinkseg.ops.video import ArrayFrames

    video = prompt.sample.video
    return ArrayFrames(np.stack([*video.read(prompt.frame_indices)]), name=video.name)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """All rollouts of one prompt.

    scores, advantages: per outcome, in order.
    """

    prompt: Prompt
    outcomes: tuple[Outcome, ...]
    scores: tuple[RolloutScore, ...]
    advantages: np.ndarray

    @property
    def informative(self) -> bool:
        """Whether any advantage is nonzero, so that the group contributes a gradient."""
        return bool(self.advantages.any())
