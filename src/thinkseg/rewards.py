"""How good an answer is, as numbers in [0, 1] (Veason-R1, arXiv 2508.11538, section 3.3).

In: a sample with its truth, the answer, and the frames the policy could choose from. Out: a score, or None where the
question has no meaning: the truth is unknown, or the target is in none of those frames. Pure functions, one signature.

The paper leaves samples without a target out. Here saying "there is none" is worth 1 where that is true and 0 where it
is not, and choosing anything where there is nothing is worth 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thinkseg.ops.boxes import mean_matched_iou
from thinkseg.types import Answer, VideoSample

Reward = Callable[[VideoSample, Answer, Sequence[int]], float | None]
"""(sample, answer, frames shown as indices into the whole video) -> [0, 1], or None if it does not apply."""


def keyframe_area(sample: VideoSample, answer: Answer, shown: Sequence[int]) -> float | None:
    """R_k: visible area of the target at the chosen frame over its largest area in the frames shown.

    0 for a keyframe that was not shown. None if no frame shown holds any of the target.
    """
    truth = sample.truth
    if truth is None:
        return None
    if truth.num_objects == 0:
        return float(answer.keyframe is None)
    areas = {frame: truth.area(frame) for frame in shown}
    largest = max(areas.values(), default=0)
    if largest == 0:
        return None
    return areas.get(answer.keyframe, 0) / largest if answer.keyframe is not None else 0.0


def matched_boxes(sample: VideoSample, answer: Answer, shown: Sequence[int]) -> float | None:
    """R_s: IoU of predicted and true boxes at the chosen frame, matched one to one, over the larger number of boxes.

    0 if the target is not to be seen in that frame, or the frame was not shown. None if the truth is unknown.
    """
    truth = sample.truth
    if truth is None:
        return None
    if truth.num_objects == 0:
        return float(answer.keyframe is None)
    if answer.keyframe is None or answer.keyframe not in shown:
        return 0.0
    return mean_matched_iou(answer.boxes, truth.boxes(answer.keyframe))


REWARDS: dict[str, Reward] = {"keyframe_area": keyframe_area, "matched_boxes": matched_boxes}
"""Every reward by the name a recipe gives its weight; an ablation is a weight of 0."""
