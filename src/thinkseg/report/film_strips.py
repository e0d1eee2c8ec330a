"""Film strips of a result: sampled frames in a row, with boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.types import Frames, Masklets, Segmentation, View

BACKGROUND_BRIGHTNESS, MASK_ALPHA = 0.55, 0.3
"""Brightness outside the masks, and opacity of the object colors, in a row of masks."""


def film_strip(result: Segmentation, view: View, captions: bool = False, width: int = 1600) -> np.ndarray:
    """Draws the policy's frames with keyframe and boxes, above the same frames with the masks; uint8 RGB.

    captions: whether to print the query and the thinking above them. width: approximate width in pixels.
    """
    return strip_of(result, sample_indices(len(result.sample.video), view.num_frames), captions, width)


def strip_of(result: Segmentation, indices: Sequence[int], captions: bool = False, width: int = 1600) -> np.ndarray:
    """Draws a film strip of the frames with these indices, ascending, as `film_strip`."""
    from thinkseg.ops import draw

    video, answer = result.sample.video, result.answer
    keyframe = answer.keyframe if answer else None
    frames = list(video.read(indices))
    answer_row = draw.film_strip(
        frames,
        frame_labels(video, indices),
        highlight=indices.index(keyframe) if keyframe in indices else None,
        boxes=answer.boxes if answer else None,
        title=result.sample.query if captions else "",
        thinking=answer.thinking if answer and captions else "",
        width=width,
    )
    return np.vstack([answer_row, _mask_row(frames, result.masklets, indices, width)])


def frame_labels(video: Frames, indices: Sequence[int]) -> list[str]:
    """Returns the time of each frame as text, or its index if the video has no times."""
    times = [video.time_of(index) for index in indices]
    return [f"frame {index}" if time is None else f"{time:.1f} s" for index, time in zip(indices, times, strict=True)]


def _mask_row(frames: Sequence[np.ndarray], masklets: Masklets, indices: Sequence[int], width: int) -> np.ndarray:
    from thinkseg.ops import draw

    masked = [_highlight(frame, masklets.masks(index)) for frame, index in zip(frames, indices, strict=True)]
    strip = draw.film_strip(masked, [""] * len(masked), width=width)
    # The labels are empty, and the next row has a margin of its own: crop both.
    return strip[: -(3 * width // 100)]


def _highlight(frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Dims a frame to gray outside its objects. masks: bool (N, H, W). Returns uint8 RGB (H, W, 3)."""
    from thinkseg.ops import draw

    image = np.repeat((frame.mean(axis=2, keepdims=True) * BACKGROUND_BRIGHTNESS).astype(np.uint8), 3, axis=2)
    inside = masks.any(axis=0)
    image[inside] = frame[inside]
    return draw.overlay(image, masks, alpha=MASK_ALPHA)
