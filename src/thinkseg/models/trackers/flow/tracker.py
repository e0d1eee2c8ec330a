"""The tracker without weights: boxes, points and masks on some frames become masks on all frames, by optical flow.

Frames stream in both directions from a keyframe, at a reduced working size. Masks are stored as RLE at source size,
so that memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.models.trackers.base import box_prompts, read_reversed
from thinkseg.models.trackers.flow.box_to_mask import box_to_mask
from thinkseg.models.trackers.flow.camera_motion import speed_against_camera
from thinkseg.models.trackers.flow.guided_filter import apply_coefficients, as_guide
from thinkseg.models.trackers.flow.mask_geometry import dilated
from thinkseg.models.trackers.flow.points_to_mask import points_to_mask, refined_by_points
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, SoftMask, complete_mask
from thinkseg.models.trackers.flow.tracked_object import TrackedObject
from thinkseg.ops.masks import encode
from thinkseg.storage.mask_spool import MaskSpool
from thinkseg.types import Frames, Masklets, ObjectPrompt, ProgressCallback, Rle

MIN_REMAINING_SHARE = 0.3
"""Share of a mask that must remain behind a smaller one on the keyframe; otherwise it keeps the common pixels."""

MIN_FLOW_SIDE = 16
"""Pixels: smaller frames have no optical flow, which needs patches of some size."""


OBJECT_MARGIN = 8
"""Working pixels around the objects that are not background for the camera's motion."""


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
        return self.track_prompts(video, box_prompts(video, keyframe, boxes), progress)

    def track_prompts(
        self, video: Frames, prompts: Sequence[ObjectPrompt], progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks objects from all their prompts, see `types.PromptTracker`.

        An object starts anew from each of its keyframes, and each frame has the mask from the nearest one. Objects with
        the same keyframes share the pixels of a frame; masks of others may overlap.
        """
        objects: dict[int, dict[int, ObjectPrompt]] = {}
        for one in sorted(prompts, key=lambda prompt: (prompt.obj, prompt.frame)):
            objects.setdefault(one.obj, {})[one.frame] = one
        groups: dict[tuple[int, ...], list[int]] = {}
        for obj, by_frame in objects.items():
            groups.setdefault(tuple(by_frame), []).append(obj)
        spool = MaskSpool(video.size_wh, len(video), len(objects))
        done, total = 0, len(groups) * len(video)
        for keyframes, members in groups.items():
            for keyframe, reach in zip(keyframes, _reaches(keyframes, len(video)), strict=True):
                given = [objects[obj][keyframe] for obj in members]
                for index, rles, confidence in self._track_from(video, keyframe, reach, given):
                    spool.put(index, rles, confidence, members)
                    done += 1
                    if progress is not None:
                        progress(done, total)
        return spool.masklets()

    def _track_from(
        self, video: Frames, keyframe: int, reach: range, prompts: Sequence[ObjectPrompt]
    ) -> Iterator[tuple[int, Sequence[Rle | None], Sequence[float]]]:
        """The frames of `reach`, with masks and confidence of the objects that are prompted on a keyframe in it."""
        first = ScaledFrame(video[keyframe], self._working_wh(video.size_wh))
        masks = self._keyframe_masks(video, first, prompts)
        yield keyframe, [encode(mask) for mask in masks], [1.0] * len(masks)
        after, before = range(keyframe + 1, reach.stop), range(reach.start, keyframe)
        for indices, frames in ((after, video.read(after)), (reversed(before), read_reversed(video, before))):
            for index, (rles, confidence) in zip(indices, self._propagate(first, masks, frames), strict=True):
                yield index, rles, confidence

    def _keyframe_masks(self, video: Frames, first: ScaledFrame, prompts: Sequence[ObjectPrompt]) -> list[np.ndarray]:
        """One mask bool (H, W) per prompt; where two overlap, the smaller object is in front."""
        regions = np.array([_region_of(one) for one in prompts if one.mask is None], np.float32)
        speed = self._keyframe_speed(video, prompts[0].frame, first, regions) if len(regions) else None
        return in_order([prompt_to_mask(first.rgb, one, speed) for one in prompts])

    def _working_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, self.working_side / max(size_wh))
        return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)

    def _keyframe_speed(self, video: Frames, keyframe: int, first: ScaledFrame, boxes: np.ndarray) -> np.ndarray:
        """Speed against the camera on the keyframe, float32 (H, W): the lower one, to the frames before and after it.

        What only one neighbor shows is the ground that the object hides there.
        """
        height, width = first.gray.shape
        scale = np.array([width, height] * 2) / np.array(first.rgb.shape[1::-1] * 2)
        objects = np.zeros((height, width), bool)
        for left, top, right, bottom in boxes * scale:
            objects[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
        engine, speeds = _flow_engine(), []
        for index in (keyframe - 1, keyframe + 1):
            if 0 <= index < len(video):
                other = ScaledFrame(video[index], (width, height))
                source_map = _grid(width, height) + optical_flow(engine, first.gray, other.gray)
                speeds.append(speed_against_camera(source_map, objects))
        speed = np.min(speeds, axis=0) if speeds else np.zeros((height, width), np.float32)
        return cv2.resize(speed, first.rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def _propagate(
        self, first: ScaledFrame, masks: Sequence[np.ndarray], frames: Iterator[np.ndarray]
    ) -> Iterator[tuple[list[Rle | None], list[float]]]:
        """Masks of all objects and their confidence per frame; the frames lead away from the keyframe."""
        height, width = first.gray.shape
        objects = [TrackedObject(first, _reduced(mask, (width, height))) for mask in masks]
        engine, grid = _flow_engine(), _grid(width, height)
        before, taken = first, np.any([tracked.mask for tracked in objects], axis=0)
        needs_speed, speed = any(tracked.ambiguity for tracked in objects), np.zeros((height, width), np.float32)
        for rgb in frames:
            now = ScaledFrame(rgb, (width, height))
            source_map = grid + optical_flow(engine, now.gray, before.gray)
            if needs_speed:
                speed = speed_against_camera(source_map, dilated(taken, OBJECT_MARGIN) > 0)
            softs = [tracked.propose(now, source_map, speed) for tracked in objects]
            owned = assign_pixels(softs, (height, width))
            taken = np.sum(owned, axis=0) > 0
            rles: list[Rle | None] = []
            for tracked, soft, mask in zip(objects, softs, owned, strict=True):
                visible = tracked.update(now, mask, taken & ~mask)
                rles.append(_export(now, soft, mask) if visible and soft is not None else None)
            yield rles, [tracked.confidence for tracked in objects]
            before = now


def prompt_to_mask(rgb: np.ndarray, prompt: ObjectPrompt, speed: np.ndarray | None = None) -> np.ndarray:
    """The mask bool (H, W) that a prompt gives, or that of the object in its box or at its points."""
    if prompt.mask is not None:
        return prompt.mask
    if prompt.box is None:
        return points_to_mask(rgb, prompt.points, prompt.labels, speed)
    mask = box_to_mask(rgb, prompt.box, speed)
    return refined_by_points(rgb, mask, prompt.points, prompt.labels) if len(prompt.points) else mask


def in_order(masks: list[np.ndarray]) -> list[np.ndarray]:
    """Masks bool (H, W) of which no two overlap: the smaller object is in front."""
    order = sorted(range(len(masks)), key=lambda i: int(masks[i].sum()))
    for position, front in enumerate(order):
        for back in order[position + 1 :]:
            rest = masks[back] & ~masks[front]
            if rest.sum() > MIN_REMAINING_SHARE * masks[back].sum():
                masks[back] = rest
    return masks


def _region_of(prompt: ObjectPrompt) -> tuple[float, ...]:
    """The box of a prompt, else that of its points on the object, xyxy."""
    if prompt.box is not None:
        return tuple(prompt.box)
    on = prompt.points[prompt.labels > 0]
    return (*on.min(axis=0), *on.max(axis=0) + 1)


def _reaches(keyframes: Sequence[int], num_frames: int) -> list[range]:
    """The frames that are nearest to each of ascending keyframes; the earlier one counts where two are as near."""
    ends = [(one + other) // 2 + 1 for one, other in pairwise(keyframes)]
    return [range(start, stop) for start, stop in zip([0, *ends], [*ends, num_frames], strict=True)]


def assign_pixels(softs: Sequence[SoftMask | None], shape: tuple[int, int]) -> list[np.ndarray]:
    """Assigns each pixel to the object with the most evidence, bool (h, w) each."""
    masks = []
    highest = np.zeros(shape, np.float32)
    for soft in softs:
        if soft is None:
            mask = np.zeros(shape, bool)
        else:
            mask = complete_mask(soft, shape)
            so_far = highest[soft.window]
            np.maximum(so_far, np.where(soft.values > 0, soft.evidence, 0), out=so_far)
        masks.append(mask)
    for soft, mask in zip(softs, masks, strict=True):
        if soft is not None and len(softs) > 1:
            mask[soft.window] &= (soft.evidence >= highest[soft.window]) | (highest[soft.window] <= 0)
    return masks


def _flow_engine() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _grid(width: int, height: int) -> np.ndarray:
    """The position (x, y) of each pixel, float32 (h, w, 2)."""
    return np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)


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
