"""Rewards of ReVSeg (arXiv 2512.02835) for keyframe and boxes, each in [0, 1].

Symbols: k is the chosen keyframe, T the frames shown, B(t) the ground-truth boxes of the targets visible in frame t, P
the predicted boxes on k. The paper has one target per query; with several targets, areas add up and boxes are matched.
"""

from __future__ import annotations

import numpy as np

from thinkseg.ops.boxes import match
from thinkseg.rewards.rollout import Rollout, target_reward

HIT = 0.5
"""A box is a hit if its IoU with the ground truth is greater, as in the paper."""


@target_reward
def keyframe_soft(rollout: Rollout, frame: int) -> float:
    """r_t = [B(k) not empty] (S(k) - min S) / (max S - min S), with S(t) the total area of B(t), min and max over T.

    Where all S are equal, the quotient is 1. The keyframe of the first turn counts even if the second reply fails.
    Source: the temporal reward r_t of ReVSeg.
    """
    areas = {shown: _total_area(boxes) for shown, boxes in rollout.prompt.boxes.items()}
    least, most = min(areas.values()), max(areas.values())
    if areas[frame] == 0:
        return 0.0
    return 1.0 if least == most else (areas[frame] - least) / (most - least)


@target_reward
def keyframe_present(rollout: Rollout, frame: int) -> float:
    """r_t = [B(k) not empty]. Source: ReVSeg's ablation of the temporal reward ("presence only")."""
    return float(len(rollout.prompt.boxes[frame]) > 0)


@target_reward
def box_hit(rollout: Rollout, frame: int) -> float:
    """r_s = (number of matched pairs with IoU > 0.5) / max(|P|, |B(k)|), matched one to one.

    For one target and one box this is the spatial reward r_s of ReVSeg, [IoU > 0.5].
    """
    if rollout.answer is None:
        return 0.0
    predicted, true = rollout.answer.boxes, rollout.prompt.boxes[frame]
    hits = sum(iou > HIT for _, _, iou in match(predicted, true))
    return hits / max(len(predicted), len(true), 1)


def _total_area(boxes: np.ndarray) -> float:
    """Returns the sum of the areas of boxes (N, 4)."""
    return float((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())
