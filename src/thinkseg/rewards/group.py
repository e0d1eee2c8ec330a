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


@dataclass(frozen=True, slots=True)
class Scored:
    """terms: each reward that has a weight, None where it does not apply. total: the weighted sum of the others."""

    terms: Mapping[str, float | None]
    total: float


def score_group(
    prompt: Prompt, outcomes: Sequence[Outcome], weights: Mapping[str, float], tracker: Tracker | None = None
) -> list[Scored]:
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
    whatever order, are tracked once.
    """
    tracked: list[Rollout] = []
    known: dict[tuple[int, bytes], Masklets] = {}
    video: Frames | None = None
    for rollout in rollouts:
        boxes = _in_one_order(matched_boxes(rollout))
        if len(boxes) == 0:
            tracked.append(rollout)
            continue
        assert rollout.keyframe is not None  # there are boxes on it
        position = rollout.prompt.shown.index(rollout.keyframe)
        answer = (position, boxes.tobytes())
        if answer not in known:
            video = _frames_shown(rollout.prompt) if video is None else video
            known[answer] = tracker.track(video, position, boxes)
        tracked.append(replace(rollout, masklets=known[answer]))
    return tracked


def _score(rollout: Rollout, weights: Mapping[str, float]) -> Scored:
    terms = {name: REWARDS[name](rollout) for name in weights}
    return Scored(terms, sum(weights[name] * term for name, term in terms.items() if term is not None))


def _in_one_order(boxes: np.ndarray) -> np.ndarray:
    """The same boxes (N, 4), sorted by their corners."""
    return boxes[np.lexsort(boxes.T[::-1])]


def _frames_shown(prompt: Prompt) -> Frames:
    """The frames shown as a video in memory, each decoded once."""
    from thinkseg.ops.video import ArrayFrames

    video = prompt.sample.video
    return ArrayFrames(np.stack([*video.read(prompt.shown)]), name=video.name)
