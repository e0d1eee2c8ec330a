"""What a tracker learns from, as a pure function of (stage, index): frames of a shapes clip, and one object in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from thinkseg.data.shapes import episode
from thinkseg.data.shapes.render import ShapesVideo, corners, label_map, seen_boxes
from thinkseg.models.sam2 import squeezed
from thinkseg.train.mixtures import SOURCE_WH

if TYPE_CHECKING:
    import torch

LEAST_SIDE = 8
"""Pixels of the source: an object is followed from a frame that shows at least so much of it, either way."""

STEPS = (1, 2, 4, 8)
"""Frames of the clip from one shown frame to the next."""

JITTER = 0.06
"""Deviation of each edge of a box, as a share of the box's side: those that a policy draws are off, too."""


@dataclass(frozen=True, slots=True)
class Tracklets:
    """A map-style data set. An item is one object of a clip, followed forwards or backwards from the first frame on.

    frames: uint8 (T, 3, side, side); masks: bool (T, side, side), all False where the object is not seen; box: float32
    (4,) xyxy on the first frame, pixels of the squares, about where the object is.
    side: of the squares; count: T; offset, length: which clips of the train split.
    """

    side: int
    count: int
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        at = self.offset + index
        while (item := self._item(at)) is None:  # a clip with nothing to follow
            at += self.length
        return item

    def _item(self, at: int) -> dict[str, torch.Tensor] | None:
        import torch

        rng = np.random.default_rng([5, at])
        one = episode("train", at)
        video = ShapesVideo(one.clip, SOURCE_WH, one.id)
        indices = self._indices(len(video), rng)
        boxes, _ = seen_boxes(label_map(video.outlines, indices[0], SOURCE_WH), one.clip.num_objects)
        there = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(1))
        if not len(there):
            return None
        obj = int(rng.choice(there))
        outlines = corners(one.clip, (self.side, self.side))
        masks = np.stack([label_map(outlines, i, (self.side, self.side)) == obj + 1 for i in indices])
        return {
            "frames": squeezed(np.stack([video[i] for i in indices]), self.side),
            "masks": torch.from_numpy(masks),
            "box": torch.from_numpy(self._box(boxes[obj] * self.side / SOURCE_WH[0], rng)),
        }

    def _indices(self, total: int, rng: np.random.Generator) -> list[int]:
        """T frames of a clip in equal steps, forwards or backwards."""
        possible = [step for step in STEPS if (self.count - 1) * step < total]
        step = int(rng.choice(possible)) if possible else 1
        start = int(rng.integers(max(total - (self.count - 1) * step, 1)))
        indices = [min(start + i * step, total - 1) for i in range(self.count)]
        return indices[::-1] if rng.random() < 0.5 else indices

    def _box(self, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sides = np.tile(box[2:] - box[:2], 2)
        # No further than a quarter of a side, so that some of it is always left.
        off = np.clip(rng.normal(0, JITTER, 4), -0.25, 0.25) * sides
        return np.clip(box + off, 0, self.side).astype(np.float32)
