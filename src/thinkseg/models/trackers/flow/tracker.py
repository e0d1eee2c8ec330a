"""The tracker without weights: boxes on one frame become masks on all frames, by optical flow.

Frames stream in both directions from the keyframe, at a reduced working size. Masks are stored as RLE at source size,
so that memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.models.trackers.base import check_boxes, check_keyframe, read_reversed
from thinkseg.models.trackers.flow.box_to_mask import box_to_mask
from thinkseg.models.trackers.flow.guided_filter import apply_coefficients, as_guide
from thinkseg.models.trackers.flow.mask_geometry import dilated
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, SoftMask
from thinkseg.models.trackers.flow.tracked_object import TrackedObject
from thinkseg.ops.masks import encode
from thinkseg.storage.mask_spool import MaskSpool
from thinkseg.types import Frames, Masklets, ProgressCallback, Rle

MIN_REMAINING_SHARE = 0.3
"""Share of a mask that must remain behind a smaller one on the keyframe; otherwise it keeps the common pixels."""

MIN_FLOW_SIDE = 16
"""Pixels: smaller frames have no optical flow, which needs patches of some size."""


class FlowTracker:
    """Tracks boxes by dense optical flow, colors and silhouettes, without weights. Satisfies `types.Tracker`.

    working_side: pixels of the long side at which flow and colors are computed; smaller videos keep their size.
    """

    name, device = "flow", "cpu"

    def __init__(self, working_side: int = 480) -> None:
        if working_side < 32:
            raise SettingsError(f"flow tracker: working_side is {working_side}; must be >= 32")
        self.working_side = working_side

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks boxes float32 (N, 4) xyxy (source pixels, on `keyframe`) through the complete video.

        Raises SettingsError if the keyframe is not in the video or a box has no area inside the frame.
        """
        total, size_wh = len(video), video.size_wh
        boxes = check_boxes(boxes, size_wh)
        check_keyframe(video, keyframe)
        spool = MaskSpool(size_wh, total, len(boxes))
        if len(boxes):
            first = ScaledFrame(video[keyframe], self._working_wh(size_wh))
            masks = boxes_to_masks(first.rgb, boxes)
            spool.put(keyframe, [encode(mask) for mask in masks])
            done = 1
            after, before = range(keyframe + 1, total), range(keyframe)
            for indices, frames in ((after, video.read(after)), (reversed(before), read_reversed(video, before))):
                for index, rles in zip(indices, self._propagate(first, masks, frames), strict=True):
                    spool.put(index, rles)
                    done += 1
                    if progress is not None:
                        progress(done, total)
        return spool.masklets()

    def _working_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, self.working_side / max(size_wh))
        return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)

    def _propagate(
        self, first: ScaledFrame, masks: Sequence[np.ndarray], frames: Iterator[np.ndarray]
    ) -> Iterator[list[Rle | None]]:
        """Masks of all objects per frame; the frames lead away from the keyframe."""
        height, width = first.gray.shape
        objects = [TrackedObject(first, _reduced(mask, (width, height))) for mask in masks]
        engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        before = first
        for rgb in frames:
            now = ScaledFrame(rgb, (width, height))
            source_map = grid + optical_flow(engine, now.gray, before.gray)
            softs = [tracked.propose(now, source_map) for tracked in objects]
            owned = assign_pixels(softs, (height, width))
            taken = np.sum(owned, axis=0) > 0
            rles: list[Rle | None] = []
            for tracked, soft, mask in zip(objects, softs, owned, strict=True):
                visible = tracked.update(now, mask, taken & ~mask)
                rles.append(_export(now, soft, mask) if visible and soft is not None else None)
            yield rles
            before = now


def boxes_to_masks(rgb: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """One mask bool (H, W) per box; where two overlap, the smaller object is in front."""
    masks = [box_to_mask(rgb, box) for box in boxes]
    order = sorted(range(len(masks)), key=lambda i: int(masks[i].sum()))
    for position, front in enumerate(order):
        for back in order[position + 1 :]:
            rest = masks[back] & ~masks[front]
            if rest.sum() > MIN_REMAINING_SHARE * masks[back].sum():
                masks[back] = rest
    return masks


def assign_pixels(softs: Sequence[SoftMask | None], shape: tuple[int, int]) -> list[np.ndarray]:
    """Assigns each pixel to the object with the most evidence, bool (h, w) each."""
    masks = []
    highest = np.zeros(shape, np.float32)
    for soft in softs:
        mask = np.zeros(shape, bool)
        if soft is not None:
            mask[soft.window] = soft.values > 0
            so_far = highest[soft.window]
            np.maximum(so_far, np.where(soft.values > 0, soft.evidence, 0), out=so_far)
        masks.append(mask)
    for soft, mask in zip(softs, masks, strict=True):
        if soft is not None and len(softs) > 1:
            mask[soft.window] &= (soft.evidence >= highest[soft.window]) | (highest[soft.window] <= 0)
    return masks


def optical_flow(engine: cv2.DISOpticalFlow, now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Displacement from each pixel of `now` to its position in `before`, float32 (h, w, 2); 0 for tiny frames."""
    if min(now.shape) < MIN_FLOW_SIDE:
        return np.zeros((*now.shape, 2), np.float32)
    return np.asarray(engine.calc(now, before, np.empty(0)))


def _reduced(mask: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """A mask at working size, with at least one pixel."""
    if mask.shape[::-1] == size_wh:
        return mask
    small = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return small >= min(0.5, float(small.max()))


def _export(frame: ScaledFrame, soft: SoftMask, mask: np.ndarray) -> Rle:
    """The mask at source size; where working size is smaller, its edge is aligned to the source frame."""
    height, width = frame.rgb.shape[:2]
    if mask.shape == (height, width):
        return encode(mask)
    rows, columns = soft.window
    scale_y, scale_x = height / mask.shape[0], width / mask.shape[1]
    part = mask[soft.window]
    top, left = round(rows.start * scale_y), round(columns.start * scale_x)
    bottom = min(round((rows.start + part.shape[0]) * scale_y), height)
    right = min(round((columns.start + part.shape[1]) * scale_x), width)
    fine = apply_coefficients(soft.coefficients, as_guide(frame.rgb[top:bottom, left:right])) > 0
    near = cv2.resize(dilated(part, 1), fine.shape[::-1], interpolation=cv2.INTER_NEAREST)
    full = np.zeros((height, width), bool)
    full[top:bottom, left:right] = fine & (near > 0)
    return encode(full)
