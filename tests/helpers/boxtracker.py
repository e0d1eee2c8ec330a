"""A tracker that fills boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from thinkseg.ops.masks import from_stacks
from thinkseg.types import Frames, Masklets, ProgressCallback


class BoxTracker:
    """A tracker that fills each box in every frame. `calls` lists the keyframes it was given.

    Takes the arguments of `thinkseg.models.load_tracker`, and ignores them.
    """

    name, device = "boxes", "cpu"

    def __init__(self, name: str = "", **settings: Any) -> None:
        self.calls: list[int] = []

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        self.calls.append(keyframe)
        width, height = video.size_wh
        masks = np.zeros((len(boxes), len(video), height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int), strict=True):
            mask[:, y1:y2, x1:x2] = True
        if progress:
            progress(len(video), len(video))
        return from_stacks(masks)
