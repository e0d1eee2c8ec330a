"""Checks of boxes and keyframes, and reading frames from the last one to the first, for all trackers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Frames, ObjectPrompt

CHUNK_BYTES = 192 << 20
"""Decoded frames in memory while reading backwards: videos decode only forwards, so frames are read in chunks."""


def check_boxes(boxes: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Boxes clipped to the frame, float32 (N, 4). Raises SettingsError for a box without area inside the frame."""
    boxes = np.asarray(boxes, np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise SettingsError(f"boxes have shape {boxes.shape}; give one row x1, y1, x2, y2 per object")
    width, height = size_wh
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    for box, inside in zip(boxes, clipped, strict=True):
        text = ",".join(f"{side:g}" for side in box)
        if not np.isfinite(box).all():
            raise SettingsError(f"box {text} has values that are not finite; give x1,y1,x2,y2 in pixels")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise SettingsError(f"box {text} has no area; give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
        if inside[2] <= inside[0] or inside[3] <= inside[1]:
            raise SettingsError(f"box {text} is outside the frame of {width}x{height} pixels; give one inside it")
    return clipped


def check_keyframe(video: Frames, keyframe: int) -> None:
    """Raises SettingsError if a video has no such frame."""
    if not 0 <= keyframe < len(video):
        raise SettingsError(f"keyframe {keyframe} is not in {video.name}; give an index from 0 to {len(video) - 1}")


def box_prompts(video: Frames, keyframe: int, boxes: np.ndarray) -> list[ObjectPrompt]:
    """Boxes (N, 4) on one frame, clipped to it, as prompts of N objects. Raises as the checks above."""
    clipped = check_boxes(boxes, video.size_wh)
    check_keyframe(video, keyframe)
    return [ObjectPrompt(keyframe, obj, box) for obj, box in enumerate(clipped)]


def read_reversed(video: Frames, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames of ascending indices, last one first."""
    width, height = video.size_wh
    chunk = int(np.clip(CHUNK_BYTES // (3 * width * height), 4, 64))
    for end in range(len(indices), 0, -chunk):
        frames = list(video.read(indices[max(end - chunk, 0) : end]))
        while frames:
            yield frames.pop()
