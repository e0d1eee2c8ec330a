"""Checks what a caller gives, and converts it: any form of a video to `Frames`, a moment to a frame index, and boxes,
points and masks to pixels inside the frame.

Everything here runs before a model is loaded.
"""

from __future__ import annotations

import reprlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.boxes import clip
from thinkseg.types import Frames, ObjectPrompt, part_of

MIN_SIDE = 1 - 1e-6
"""Shortest side of a box in pixels, less the rounding errors of a side of 1."""

_FORMS = "give a path, a list of images, or an array or tensor of shape (T, H, W, 3) or (T, 3, H, W)"
_MEMBERS = ("name", "size_wh", "fps", "__len__", "__getitem__", "read", "time_of")


def open_frames(video: Any) -> Frames:
    """Opens a video given as one of these; one without times has frame indices instead.

    - a path of a video file, or of a folder of images
    - frames that are open (`thinkseg.types.Frames`)
    - an array or tensor (T, H, W, 3) or (T, 3, H, W), RGB: uint8, or float from 0 to 1
    - a list of images of one size: paths, PIL images, or arrays as above without T

    Raises VideoError for anything else, and as `open_video`.
    """
    from thinkseg.ops.video import ArrayFrames, open_video

    if isinstance(video, str | PathLike):
        return open_video(Path(video))
    if is_frames(video):
        return video
    if isinstance(video, list | tuple):
        return _listed(video)
    if isinstance(video, np.ndarray) or _is_tensor(video):
        return ArrayFrames(_as_frames(_array(video)))
    raise VideoError(f"video: {type(video).__name__} is no video; {_FORMS}")


def is_frames(video: object) -> TypeGuard[Frames]:
    """Whether a value has the members of `thinkseg.types.Frames`."""
    return all(hasattr(video, name) for name in _MEMBERS)


def frame_at(video: Frames, moment: int | float) -> int:
    """Returns the index of a frame. An int is an index; a float is a time in seconds, and the nearest frame is meant.

    moment: in the source of the video, if this is a part of it.
    Raises SettingsError if the moment is outside the video, or is a time and the frames have none.
    """
    indices = part_of(video).indices
    start, end = video.time_of(0), video.time_of(len(video) - 1)
    if isinstance(moment, bool) or not isinstance(moment, Real) or not moment >= 0:
        raise SettingsError(f"keyframe: {moment!r} is not a moment; give a frame index (int), or a time >= 0 (float)")
    if isinstance(moment, Integral):
        if moment > indices[-1]:
            raise SettingsError(f"keyframe: {moment} is beyond the end: {video.name} has frames {_range(indices)}")
        if moment not in indices:
            raise SettingsError(f"keyframe: {moment} is not among the frames of {video.name}: {_range(indices)}")
        return indices.index(int(moment))
    if start is None or end is None:
        raise SettingsError(f"keyframe: {video.name} has no times; give a frame index, {_range(indices)}")
    if moment < start:
        raise SettingsError(f"keyframe: {moment:g} s is before the first frame of {video.name}, at {start:.2f} s")
    # The last frame lasts as long as the others.
    length = end + (1 / video.fps if video.fps else 0.0)
    if moment > length:
        raise SettingsError(f"keyframe: {moment:g} s is beyond the end: {video.name} ends at {length:.2f} s")
    return _nearest(video, float(moment))


def _range(indices: range) -> str:
    return f"{indices[0]} to {indices[-1]}" + (f" in steps of {indices.step}" if indices.step > 1 else "")


def boxes_in_frame(boxes: Any, size_wh: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Returns boxes clipped to the frame, float32 (N, 4) xyxy in pixels, and a note per box that was clipped.

    boxes: numbers (N, 4), N >= 1, as an array, a tensor or a list. Raises SettingsError for another shape, numbers that
    are not finite, and boxes whose part inside the frame is not at least one pixel wide and high.
    """
    given = box_rows(boxes)
    clipped = clip(given, size_wh)
    frame = "the frame of {}x{} pixels".format(*size_wh)
    notes = []
    for box, inside in zip(given, clipped, strict=True):
        _check_box(box, inside, frame)
        if (box != inside).any():
            notes.append(f"box {_text(box)} is clipped to {frame}: {_text(inside)}")
    return clipped.astype(np.float32), notes


def located_prompts(prompts: Any, video: Frames) -> list[ObjectPrompt]:
    """Returns prompts whose frames are moments, as in `frame_at`, with the indices of these frames in the video.

    Raises SettingsError if they are not a list of `ObjectPrompt` with at least one, and as `frame_at`.
    """
    given = list(prompts) if isinstance(prompts, Iterable) else [prompts]
    if not given or not all(isinstance(one, ObjectPrompt) for one in given):
        raise SettingsError(f"prompts: {reprlib.repr(prompts)} are none; give a list of thinkseg.ObjectPrompt")
    return [replace(one, frame=frame_at(video, one.frame)) for one in given]


def checked_prompts(prompts: Iterable[ObjectPrompt], video: Frames) -> tuple[list[ObjectPrompt], list[str]]:
    """Returns valid prompts in the order of objects and frames, as trackers take them, and a note per clipped box.

    prompts: at least one, with indices of frames in the video, see `located_prompts`. Raises SettingsError for a prompt
    that is empty or has both a mask and points or a box, a box or point outside the frame, points of which all are
    beside the object, a mask of another size or without a pixel, two prompts of an object on a frame, and an object
    without any.
    """
    checked: dict[tuple[int, int], ObjectPrompt] = {}
    notes: list[str] = []
    for one in prompts:
        where = f"object {one.obj + 1}, frame {part_of(video).indices[one.frame]}"
        if (one.obj, one.frame) in checked:
            raise SettingsError(f"{where}: has two prompts; give its points and box in one, or one mask")
        checked[one.obj, one.frame] = _checked_prompt(one, video.size_wh, where, notes)
    found = {obj for obj, _ in checked}
    missing = next((obj for obj in range(len(found)) if obj not in found), None)
    if missing is not None:
        raise SettingsError(f"object {missing + 1}: has no prompt; number objects without gaps, from 1")
    return [checked[key] for key in sorted(checked)], notes


def _checked_prompt(prompt: ObjectPrompt, size_wh: tuple[int, int], where: str, notes: list[str]) -> ObjectPrompt:
    if prompt.mask is not None:
        if prompt.box is not None or len(prompt.points):
            raise SettingsError(f"{where}: a mask takes no box and no points; give one or the other")
        if prompt.mask.shape != size_wh[::-1]:
            found = "x".join(map(str, prompt.mask.shape[::-1]))
            raise SettingsError(f"{where}: mask is {found}, the frame {size_wh[0]}x{size_wh[1]}; give one of its size")
        if not prompt.mask.any():
            raise SettingsError(f"{where}: mask is empty; give one with the pixels of the object")
        return prompt
    _check_points(prompt, size_wh, where)
    if prompt.box is None:
        return prompt
    (box,), clipped = boxes_in_frame(prompt.box[None], size_wh)
    notes += clipped
    return replace(prompt, box=box)


def _check_points(prompt: ObjectPrompt, size_wh: tuple[int, int], where: str) -> None:
    for point in prompt.points:
        if not ((point >= 0) & (point < size_wh)).all():
            frame = "the frame of {}x{} pixels".format(*size_wh)
            raise SettingsError(f"{where}: point {_text(point)} is outside {frame}; give x,y inside it")
    if not set(prompt.labels) <= {0, 1}:
        raise SettingsError(f"{where}: labels are {prompt.labels.tolist()}; give 1 for on the object, 0 for beside it")
    if prompt.box is None and not prompt.labels.any():
        raise SettingsError(f"{where}: no point is on the object; give one that is, or a box")


def _check_box(box: np.ndarray, inside: np.ndarray, frame: str) -> None:
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        raise SettingsError(f"box {_text(box)} has no area; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    x1, y1, x2, y2 = inside
    if x1 >= x2 or y1 >= y2:
        raise SettingsError(f"box {_text(box)} lies outside {frame}; give a box inside it")
    if min(x2 - x1, y2 - y1) < MIN_SIDE:
        raise SettingsError(f"box {_text(box)} covers less than one pixel of {frame}; give a larger box")


def box_rows(boxes: Any) -> np.ndarray:
    """Returns boxes, numbers in any form, as float64 (N, 4), all finite. Raises SettingsError as `boxes_in_frame`."""
    try:
        array = _array(boxes)
    except (TypeError, ValueError):  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] != 4 or len(array) == 0:
        found = f"the shape {array.shape}" if array.dtype.kind in "iuf" else type(boxes).__name__
        raise SettingsError(f"boxes: {found} does not fit; give numbers of shape (N, 4), e.g. [[10, 20, 110, 90]]")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise SettingsError(f"boxes: {array.tolist()} has a number that is not finite; give pixels of the frame")
    return array


def _text(box: np.ndarray) -> str:
    return ",".join(f"{side:.6g}" for side in box)


def _nearest(video: Frames, seconds: float) -> int:
    def time_of(index: int) -> float:
        return video.time_of(index) or 0.0

    after = bisect_left(range(len(video)), seconds, key=time_of)
    near = [index for index in (after - 1, after) if 0 <= index < len(video)]
    return min(near, key=lambda index: abs(time_of(index) - seconds))


def _listed(images: Sequence[Any]) -> Frames:
    """A list of images as frames."""
    from PIL.Image import Image

    from thinkseg.ops.pictures import to_frame, upright
    from thinkseg.ops.video import ArrayFrames, FrameFolder

    if not images:
        raise VideoError("video: the list is empty; give at least one image")
    if all(isinstance(image, str | PathLike) for image in images):
        folder = FrameFolder([Path(image) for image in images])
        folder.check_sizes()
        return folder
    arrays = [to_frame(upright(image), "video") if isinstance(image, Image) else _array(image) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise VideoError(f"video: images of different shapes, {' and '.join(map(str, sorted(shapes)[:2]))}; give one")
    return ArrayFrames(_as_frames(np.stack(arrays)))


def _as_frames(array: np.ndarray) -> np.ndarray:
    """Returns frames in one of the supported layouts as uint8 (T, H, W, 3)."""
    if array.ndim == 4 and array.shape[3] != 3 and array.shape[1] == 3:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] != 3 or array.size == 0 or array.dtype.kind not in "uf":
        raise VideoError(f"video: {array.dtype} of shape {array.shape} is no video; {_FORMS}, uint8 or float")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise VideoError("video: frames of type float must have values from 0 to 1; divide by their maximum")
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise VideoError(f"video: frames of type {array.dtype} are not supported; convert them to uint8, 0 to 255")
    return array


def _is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def _array(value: Any) -> np.ndarray:
    if _is_tensor(value):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)
