"""The rewards of a group: all attempts at one prompt in, what each is worth out.

Tracking is what costs: it is done once for answers that are alike, over the frames shown and no others, and not at all
where nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.rewards import REWARDS, Prompt, Rollout, checked_weights
from thinkseg.rewards.veason import matched_boxes
from thinkseg.types import Frames, Masklets, Outcome, Tracker

_Asked = tuple[int, tuple[tuple[float, ...], ...]]
"""What a tracker is asked to follow: a frame, counted among those shown, and the boxes on it, sorted."""


@dataclass(frozen=True, slots=True)
class RolloutScore:
    """terms: each reward that has a weight, None where it does not apply. total: the weighted sum of the others."""

    terms: Mapping[str, float | None]
    total: float


def score_group(
    prompt: Prompt, outcomes: Sequence[Outcome], weights: Mapping[str, float], tracker: Tracker | None = None
) -> list[RolloutScore]:
    """What each of the outcomes of one prompt is worth, in order.

    weights: by the names of `REWARDS`; see `checked_weights`. tracker: only "consistency" needs one.

    Nothing is kept between calls, so that groups can be scored on other threads; a video file is read by one at a time.
    Raises SettingsError for bad weights or a missing tracker, and whatever the tracker raises: its failure is no score.
    """
    chosen = checked_weights(weights)
    rollouts = [Rollout(prompt, outcome) for outcome in outcomes]
    if "consistency" in chosen:
        if tracker is None:
            raise SettingsError("the reward 'consistency' needs a tracker: name one, or give it the weight 0")
        rollouts = track(rollouts, tracker)
    return [_score(rollout, chosen) for rollout in rollouts]


def track(rollouts: Iterable[Rollout], tracker: Tracker) -> list[Rollout]:
    """Rollouts of one prompt with the masks that "consistency" compares; those without a matched box stay as they are.

    The tracker sees the frames shown as a video of their own. Answers that put the same boxes on the same frame, in
    whatever order, are tracked once. A tracker that says it is `independent`, whose masks of one object are the same
    whatever is followed beside it, is given all boxes on one frame at once, each of them once.
    """
    rollouts = list(rollouts)
    asked = [_asked(rollout) for rollout in rollouts]
    distinct = list(dict.fromkeys(one for one in asked if one is not None))
    if not distinct:
        return rollouts
    video = _frames_shown(rollouts[0].prompt)
    follow = _follow_together if getattr(tracker, "independent", False) else _follow_each
    found = follow(distinct, video, tracker)
    return [
        rollout if one is None else replace(rollout, masklets=found[one])
        for rollout, one in zip(rollouts, asked, strict=True)
    ]


def _asked(rollout: Rollout) -> _Asked | None:
    """What a rollout asks a tracker to follow; None if nothing."""
    boxes = matched_boxes(rollout)
    if len(boxes) == 0:
        return None
    assert rollout.keyframe is not None  # there are boxes on it
    return rollout.prompt.shown.index(rollout.keyframe), tuple(sorted(map(tuple, boxes.tolist())))


def _follow_each(asked: Sequence[_Asked], video: Frames, tracker: Tracker) -> dict[_Asked, Masklets]:
    """The masks of answers that are tracked one by one."""
    return {(frame, boxes): tracker.track(video, frame, np.array(boxes, np.float32)) for frame, boxes in asked}


def _follow_together(asked: Sequence[_Asked], video: Frames, tracker: Tracker) -> dict[_Asked, Masklets]:
    """The masks of answers whose boxes, where they are on one frame, are tracked at once."""
    found: dict[_Asked, Masklets] = {}
    for frame in dict.fromkeys(frame for frame, _ in asked):
        answers = [boxes for place, boxes in asked if place == frame]
        distinct = list(dict.fromkeys(box for boxes in answers for box in boxes))
        masklets = tracker.track(video, frame, np.array(distinct, np.float32))
        tracks = dict(zip(distinct, masklets.rles, strict=True))
        for boxes in answers:
            found[frame, boxes] = replace(masklets, rles=tuple(tracks[box] for box in boxes))
    return found


def _score(rollout: Rollout, weights: Mapping[str, float]) -> RolloutScore:
    terms = {name: REWARDS[name](rollout) for name in weights}
    return RolloutScore(terms, sum(weights[name] * term for name, term in terms.items() if term is not None))


def _frames_shown(prompt: Prompt) -> Frames:
    """The frames shown as a video in memory, each decoded once."""
    from thinkseg.ops.video import ArrayFrames

    video = prompt.sample.video
    return ArrayFrames(np.stack([*video.read(prompt.shown)]), name=video.name)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """All attempts at one prompt. scores, advantages: of each outcome, in order; see `objective.advantages`."""

    prompt: Prompt
    outcomes: tuple[Outcome, ...]
    scores: tuple[RolloutScore, ...]
    advantages: np.ndarray

    @property
    def teaches(self) -> bool:
        """Whether some attempt did better than another."""
        return bool(self.advantages.any())
