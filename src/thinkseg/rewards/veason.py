"""Rewards of Veason-R1 (arXiv 2508.11538, section 3.3) for keyframe, boxes and tracked masks, each in [0, 1].

Symbols: k is the chosen keyframe, T the frames shown, G(t) the ground-truth masks in frame t, merged, B(t) the
ground-truth boxes of the targets visible in frame t, P the predicted boxes on k, M(t) the tracked masks, merged.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.boxes import match, mean_matched_iou
from thinkseg.rewards.rollout import Rollout, target_reward


@target_reward
def keyframe(rollout: Rollout, frame: int) -> float:
    """R_k = |G(k)| / max over t in T of |G(t)|. Source: Veason-R1, section 3.3."""
    areas = rollout.prompt.areas
    return areas[frame] / max(areas.values())


@target_reward
def keyframe_first(rollout: Rollout, frame: int) -> float:
    """[k is the first t in T with |G(t)| > 0].

    Source: "grounding only" in table 6 of Veason-R1, where that frame is fixed as keyframe.
    """
    return float(frame == min(shown for shown, area in rollout.prompt.areas.items() if area))


@target_reward
def boxes(rollout: Rollout, frame: int) -> float:
    """R_s = (sum of IoU over the one-to-one matching of P with B(k)) / max(|P|, |B(k)|).

    The matching minimizes the sum of 1 - IoU (Hungarian). R_s is 0 if B(k) is empty. Source: Veason-R1, section 3.3.
    """
    if rollout.answer is None:
        return 0.0
    return mean_matched_iou(rollout.answer.boxes, rollout.prompt.boxes[frame])


@target_reward
def consistency(rollout: Rollout, frame: int) -> float:
    """R_u = mean over t in T of IoU(M(t), G(t)), where M tracks the boxes of P that are matched in R_s.

    The IoU of two empty masks is 1. R_u is 0 if no box is matched. Source: Veason-R1, section 3.3.
    Raises ValueError if boxes are matched but `rollout.masklets` is None.
    """
    if rollout.masklets is None:
        if len(matched_boxes(rollout)):
            raise ValueError(f"answer to sample {rollout.prompt.sample.id!r} is not tracked; call groups.track first")
        return 0.0
    from thinkseg.ops.metrics import areas

    shared, either = areas(rollout.masklets, rollout.prompt.masklets).T
    return float(np.divide(shared, either, out=np.ones(len(shared)), where=either > 0).mean())


def matched_boxes(rollout: Rollout) -> np.ndarray:
    """Returns the predicted boxes that R_s matches, in the order of the answer, float32 (M, 4); M can be 0."""
    prompt, answer = rollout.prompt, rollout.answer
    if answer is None or answer.keyframe not in prompt.frame_indices or not prompt.shows_target:
        return np.zeros((0, 4), np.float32)
    return answer.boxes[[row for row, _, _ in match(answer.boxes, prompt.boxes[answer.keyframe])]]
