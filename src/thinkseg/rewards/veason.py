"""Rewards of Veason-R1 (arXiv 2508.11538, section 3.3) for when, where and what follows: a rollout in, a number out."""

from __future__ import annotations

import numpy as np

from thinkseg.ops.boxes import match, mean_matched_iou
from thinkseg.rewards.rollout import Rollout, target_reward


@target_reward
def keyframe(rollout: Rollout, frame: int) -> float:
    """R_k: visible area of the targets at the chosen frame over their largest area in any frame shown."""
    areas = rollout.prompt.areas
    return areas[frame] / max(areas.values())


@target_reward
def boxes(rollout: Rollout, frame: int) -> float:
    """R_s: IoU of predicted and true boxes at the chosen frame, matched one to one, over the larger number of boxes.

    Targets that are not to be seen there have no box; if none is, it is 0.
    """
    if rollout.answer is None:
        return 0.0
    return mean_matched_iou(rollout.answer.boxes, rollout.prompt.boxes[frame])


@target_reward
def consistency(rollout: Rollout, frame: int) -> float:
    """R_u: IoU of the tracked masks, merged, with the truth, the mean over the frames shown.

    A frame in which there is rightly nothing counts 1. 0 if no box was matched. Raises ValueError if some were, but
    `rollout.masklets` is None: what has not been tracked is not known to be wrong.
    """
    if rollout.masklets is None:
        if len(matched_boxes(rollout)):
            raise ValueError(f"an answer to sample {rollout.prompt.sample.id!r} has to be tracked to be scored")
        return 0.0
    from thinkseg.ops.metrics import areas

    shared, either = areas(rollout.masklets, rollout.prompt.masklets).T
    return float(np.divide(shared, either, out=np.ones(len(shared)), where=either > 0).mean())


def matched_boxes(rollout: Rollout) -> np.ndarray:
    """The predicted boxes that R_s matches with true ones, in the order they were written: what R_u has tracked.

    float32 (M, 4) xyxy; none where there is nothing to match, or no target to be seen.
    """
    prompt, answer = rollout.prompt, rollout.answer
    if answer is None or answer.keyframe not in prompt.shown or not prompt.shows_target:
        return np.zeros((0, 4), np.float32)
    return answer.boxes[[row for row, _, _ in match(answer.boxes, prompt.boxes[answer.keyframe])]]
