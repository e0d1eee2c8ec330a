"""Rewards of ReVSeg (arXiv 2512.02835) for when and where: a rollout in, a number in [0, 1] out.

The paper knows one target a question; for several, each of them counts.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.boxes import match
from thinkseg.rewards.rollout import Rollout, target_reward

HIT = 0.5
"""A box hits if its IoU with the true one is above this."""


@target_reward
def keyframe_soft(rollout: Rollout, frame: int) -> float:
    """r_t: area of the true boxes at the chosen frame, between the least (0) and the most (1) of any frame shown.

    Targets that are not to be seen have no box, so no area. Where all frames are alike, each is as good as the best.
    It does not take boxes: the frame alone, chosen in the first turn, earns it.
    """
    areas = {shown: _total_area(boxes) for shown, boxes in rollout.prompt.boxes.items()}
    least, most = min(areas.values()), max(areas.values())
    if areas[frame] == 0:
        return 0.0
    return 1.0 if least == most else (areas[frame] - least) / (most - least)


@target_reward
def keyframe_present(rollout: Rollout, frame: int) -> float:
    """What the paper's ablation puts in the place of r_t: 1 if a target is to be seen in the chosen frame, else 0."""
    return float(len(rollout.prompt.boxes[frame]) > 0)


@target_reward
def box_hit(rollout: Rollout, frame: int) -> float:
    """r_s: share of the boxes, predicted or true, whichever are more, that are matched with an IoU above a half."""
    if rollout.answer is None:
        return 0.0
    predicted, true = rollout.answer.boxes, rollout.prompt.boxes[frame]
    hits = sum(iou > HIT for _, _, iou in match(predicted, true))
    return hits / max(len(predicted), len(true), 1)


def _total_area(boxes: np.ndarray) -> float:
    """Sum of the areas of boxes (N, 4)."""
    return float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())
