"""Videos: the source with its objects tinted and numbered, and the objects alone on transparency."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thinkseg.ops import draw
from thinkseg.ops.encoding.video_writer import VP9_ALPHA, video_writer
from thinkseg.report.formats.writing import Add, MaskedFrame
from thinkseg.types import Frames, Segmentation, part_of

FOLDER_FPS = 12.0
"""Frames per second of a video without timestamps."""

NUMBERED_SIDE = 64
"""Shorter side in pixels from which on objects have numbers: in a smaller frame they would hide the objects."""

MARGIN = 8
"""Pixels around an object whose colors are kept under full transparency, since codecs mix colors of neighbors."""


@contextmanager
def overlay(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes overlay.mp4 (H.264): tinted objects with their numbers, boxes on the keyframe, and the source's sound."""
    colors = draw.ObjectColors(result.masklets.num_objects)
    video = result.sample.video
    path, sound = folder / "overlay.mp4", sound_source(video)
    with video_writer(path, sound_of=sound, sound_span=_span(video), **_timing(video)) as write:

        def add(frame: MaskedFrame) -> None:
            assert frame.image is not None
            write(overlaid(result, frame.index, frame.image, frame.masks, colors))

        yield add


@contextmanager
def cutout(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes cutout.webm (VP9 with alpha): what the masks cover, and transparency elsewhere."""
    with video_writer(folder / "cutout.webm", coding=VP9_ALPHA, **_timing(result.sample.video)) as write:

        def add(frame: MaskedFrame) -> None:
            assert frame.image is not None
            write(cut_out(frame.image, frame.union))

        yield add


def overlaid(
    result: Segmentation, index: int, image: np.ndarray, masks: np.ndarray, colors: draw.ObjectColors
) -> np.ndarray:
    """Draws the objects of a frame, uint8 RGB (H, W, 3). masks: bool (N, H, W)."""
    answer = result.answer
    boxes = answer.boxes if answer and index == answer.keyframe else None
    numbers = [str(number) for number in range(1, len(masks) + 1)] if min(image.shape[:2]) >= NUMBERED_SIDE else None
    return draw.overlay(image, masks, boxes, labels=numbers, colors=colors.of(image, masks))


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the pixels of a frame inside a mask, uint8 RGBA (H, W, 4), not premultiplied. Far from it, all are 0."""
    alpha = mask.astype(np.uint8) * 255
    near = cv2.dilate(alpha, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))
    return np.dstack([cv2.copyTo(np.ascontiguousarray(image), near), alpha])


def sound_source(video: Frames) -> Path | None:
    """Returns the file whose sound belongs to a video; None for image files and arrays."""
    return None if getattr(video, "file_names", None) else getattr(video, "path", None)


def _span(video: Frames) -> tuple[float, float]:
    """The times in the source between which a video is, in seconds; infinite where it ends with its source."""
    indices, start, last = part_of(video).indices, video.time_of(0), video.time_of(len(video) - 1)
    if last is None or indices[-1] + indices.step >= part_of(video).num_frames:
        return start or 0.0, math.inf
    return start or 0.0, last + 1 / (video.fps or FOLDER_FPS)


def _timing(video: Frames) -> dict[str, Any]:
    """The arguments of `video_writer` that state when frames are shown."""
    times = [time for index in range(len(video)) if (time := video.time_of(index)) is not None]
    return {"fps": video.fps or FOLDER_FPS, "times": times or None}
