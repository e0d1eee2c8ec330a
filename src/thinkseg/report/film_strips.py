"""Pictures of a result: frames with masks in a row, for pages and reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.report.results_page import DIMMED, STRIP, TINT, TRUTH
from thinkseg.types import Masklets, Segmentation, View

JPEG_QUALITY = 88


def write_pictures(result: Segmentation, view: View, folder: Path) -> None:
    """Writes the film strips of one question: what was answered, and the truth where it is known."""
    from PIL import Image

    Image.fromarray(film_strip(result, view)).save(folder / STRIP, quality=JPEG_QUALITY)
    if result.sample.truth is not None:
        Image.fromarray(truth_strip(result, view)).save(folder / TRUTH, quality=JPEG_QUALITY)


def film_strip(result: Segmentation, view: View, captions: bool = False, width: int = 1600) -> np.ndarray:
    """The frames the policy saw, its keyframe and boxes, and below them the masks; uint8 RGB.

    captions: whether the question and the thinking stand above them.
    """
    from thinkseg.ops import draw

    video, answer = result.sample.video, result.answer
    shown = sample_indices(len(video), view.num_frames)
    keyframe = answer.keyframe if answer else None
    frames = list(video.read(shown))
    asked = draw.film_strip(
        frames,
        _labels(result, shown),
        highlight=shown.index(keyframe) if keyframe in shown else None,
        boxes=answer.boxes if answer else None,
        title=result.sample.query if captions else "",
        thinking=answer.thinking if answer and captions else "",
        width=width,
    )
    return np.vstack([asked, _mask_strip(frames, result.masklets, shown, width)])


def truth_strip(result: Segmentation, view: View, width: int = 1600) -> np.ndarray:
    """The same frames with the true masks; uint8 RGB. Raises ValueError if the truth is not known."""
    video, truth = result.sample.video, result.sample.truth
    if truth is None:
        raise ValueError(f"sample {result.sample.id!r} has no truth to draw")
    shown = sample_indices(len(video), view.num_frames)
    return _mask_strip(list(video.read(shown)), truth, shown, width)


def _mask_strip(frames: Sequence[np.ndarray], masklets: Masklets, shown: Sequence[int], width: int) -> np.ndarray:
    """Frames in a row in which only what is masked has colour; uint8 RGB."""
    from thinkseg.ops import draw

    pictures = [_cut_out(frame, masklets.masks(index)) for frame, index in zip(frames, shown, strict=True)]
    strip = draw.film_strip(pictures, [""] * len(pictures), width=width)
    # Nothing is written below these frames, and the next row comes with a margin of its own.
    return strip[: -(3 * width // 100)]


def _cut_out(frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A frame dimmed to grey but for its objects, uint8 RGB (H, W, 3)."""
    from thinkseg.ops import draw

    picture = np.repeat((frame.mean(axis=2, keepdims=True) * DIMMED).astype(np.uint8), 3, axis=2)
    inside = masks.any(axis=0)
    picture[inside] = frame[inside]
    return draw.overlay(picture, masks, alpha=TINT)


def _labels(result: Segmentation, shown: Sequence[int]) -> list[str]:
    times = [result.sample.video.time_of(index) for index in shown]
    return [f"frame {index}" if at is None else f"{at:.1f} s" for index, at in zip(shown, times, strict=True)]
