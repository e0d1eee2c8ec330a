"""The weight-free tracker: boxes on one frame become masks on all of them, by optical flow.

In: a video, the index of a frame and boxes xyxy in that frame's pixels. Out: `Masklets`, one object per box in order.
Frames are streamed in both directions from the keyframe at a reduced working size; masks leave as run lengths at source
size, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.models.trackers.base import backwards, check_boxes, check_keyframe
from thinkseg.models.trackers.flow.box_to_mask import cut_out
from thinkseg.models.trackers.flow.guided_filter import apply_coefficients, as_guide
from thinkseg.models.trackers.flow.soft_mask import Picture, Soft
from thinkseg.models.trackers.flow.tracked_object import Target
from thinkseg.ops.masks import encode
from thinkseg.storage.mask_spool import MaskSpool
from thinkseg.types import Frames, Masklets, Progress, Rle


class FlowTracker:
    """Follows boxes by dense optical flow, colours and silhouettes; needs no weights. Satisfies `types.Tracker`.

    working_side: pixels of the long side flow and colours are computed at; smaller videos are used as they are.
    """

    name = "flow"

    def __init__(self, working_side: int = 480) -> None:
        if working_side < 32:
            raise SettingsError(f"flow tracker: working_side is {working_side}; give at least 32 pixels")
        self.working_side = working_side

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: Progress | None = None) -> Masklets:
        """Follows boxes float32 (N, 4) xyxy (source pixels, on `keyframe`) through the whole video.

        Raises SettingsError if the keyframe is not in the video or a box has no area inside the frame.
        """
        total, size_wh = len(video), video.size_wh
        boxes = check_boxes(boxes, size_wh)
        check_keyframe(video, keyframe)
        kept = MaskSpool(size_wh, total, len(boxes))
        if len(boxes):
            first = Picture(video[keyframe], self._working_wh(size_wh))
            masks = cut_out_all(first.rgb, boxes)
            kept.put(keyframe, [encode(mask) for mask in masks])
            done = 1
            after, before = range(keyframe + 1, total), range(keyframe)
            for indices, frames in ((after, video.read(after)), (reversed(before), backwards(video, before))):
                for index, found in zip(indices, self._walk(first, masks, frames), strict=True):
                    kept.put(index, found)
                    done += 1
                    if progress is not None:
                        progress(done, total)
        return kept.masklets()

    def _working_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, self.working_side / max(size_wh))
        return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)

    def _walk(
        self, first: Picture, masks: Sequence[np.ndarray], frames: Iterator[np.ndarray]
    ) -> Iterator[list[Rle | None]]:
        """Masks of all objects in each of the frames, which lead away from the first picture one by one."""
        height, width = first.grey.shape
        targets = [Target(first, _shrink(mask, (width, height))) for mask in masks]
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        before = first
        for rgb in frames:
            now = Picture(rgb, (width, height))
            source_map = grid + _flow(flow, now.grey, before.grey)
            softs = [target.propose(now, source_map) for target in targets]
            granted = settle_owners(softs, (height, width))
            found: list[Rle | None] = []
            taken = np.sum(granted, axis=0) > 0
            for target, soft, mask in zip(targets, softs, granted, strict=True):
                kept = target.settle(now, mask, taken & ~mask)
                found.append(_export(now, soft, mask) if kept and soft is not None else None)
            yield found
            before = now


def cut_out_all(rgb: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """One mask bool (H, W) per box; where two overlap, the smaller object lies in front."""
    masks = [cut_out(rgb, box) for box in boxes]
    order = sorted(range(len(masks)), key=lambda i: int(masks[i].sum()))
    for position, front in enumerate(order):
        for back in order[position + 1 :]:
            rest = masks[back] & ~masks[front]
            if rest.sum() > 0.3 * masks[back].sum():
                masks[back] = rest
    return masks


def settle_owners(softs: Sequence[Soft | None], shape: tuple[int, int]) -> list[np.ndarray]:
    """Gives every pixel to the object that claims it most, bool (h, w) each."""
    masks = []
    highest = np.zeros(shape, np.float32)
    for soft in softs:
        mask = np.zeros(shape, bool)
        if soft is not None:
            mask[soft.window] = soft.values > 0
            rival = highest[soft.window]
            np.maximum(rival, np.where(soft.values > 0, soft.claim, 0), out=rival)
        masks.append(mask)
    for soft, mask in zip(softs, masks, strict=True):
        if soft is not None and len(softs) > 1:
            mask[soft.window] &= (soft.claim >= highest[soft.window]) | (highest[soft.window] <= 0)
    return masks


def _flow(engine: cv2.DISOpticalFlow, now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Displacement from each pixel of `now` to where it was `before`, float32 (h, w, 2); zero in tiny pictures."""
    if min(now.shape) < 16:
        return np.zeros((*now.shape, 2), np.float32)
    return np.asarray(engine.calc(now, before, np.empty(0)))


def _shrink(mask: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """A mask at working size, never emptied by shrinking."""
    if mask.shape[::-1] == size_wh:
        return mask
    small = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return small >= min(0.5, float(small.max()))


def _export(picture: Picture, soft: Soft, mask: np.ndarray) -> Rle:
    """The mask at source size; its edge follows the source picture where working size is smaller."""
    height, width = picture.rgb.shape[:2]
    if mask.shape == (height, width):
        return encode(mask)
    rows, columns = soft.window
    scale_y, scale_x = height / mask.shape[0], width / mask.shape[1]
    part = mask[soft.window]
    top, left = round(rows.start * scale_y), round(columns.start * scale_x)
    bottom = min(round((rows.start + part.shape[0]) * scale_y), height)
    right = min(round((columns.start + part.shape[1]) * scale_x), width)
    guide = as_guide(picture.rgb[top:bottom, left:right])
    fine = apply_coefficients(soft.coefficients, guide) > 0
    near = cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8))
    near = cv2.resize(near, fine.shape[::-1], interpolation=cv2.INTER_NEAREST)
    full = np.zeros((height, width), bool)
    full[top:bottom, left:right] = fine & (near > 0)
    return encode(full)
