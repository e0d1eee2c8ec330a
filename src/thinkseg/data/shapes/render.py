"""Renders RGB frames and exact label maps of a clip at any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np

from thinkseg.data.shapes.simulation import COLORS, FPS, MARKS, Clip, polygons
from thinkseg.types import Frames

_SUBPIXEL = 4  # fractional bits of OpenCV's polygon coordinates
_TONES = {"dark": (24, 24, 24), "light": (245, 245, 245)}


def corners(clip: Clip, size_wh: tuple[int, int]) -> list[np.ndarray]:
    """Returns the corners of each object in every frame in OpenCV's fixed-point format: int32 (T, V, 2)."""
    return [_fixed_point(polygons(clip, i), size_wh) for i in range(clip.num_objects)]


def _fixed_point(points: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    # OpenCV places integer coordinates at pixel centers, hence the half pixel.
    return np.rint((points * np.array(size_wh, float) - 0.5) * 2**_SUBPIXEL).astype(np.int32)


def label_map(outlines: Sequence[np.ndarray], frame: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns the visible object per pixel: uint8 (H, W), 0 for the background, i + 1 for object i."""
    labels = np.zeros(size_wh[::-1], np.uint8)
    for obj, outline in enumerate(outlines):
        cv2.fillPoly(labels, [outline[frame]], obj + 1, cv2.LINE_8, _SUBPIXEL)
    return labels


def visible_boxes(labels: np.ndarray, num_objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns tight boxes, float32 (N, 4), and pixel counts, int64 (N,), of a label map; 0 for hidden objects."""
    boxes = np.zeros((num_objects, 4), np.float32)
    areas = np.bincount(labels.ravel(), minlength=num_objects + 1)[1 : num_objects + 1]
    for obj in np.nonzero(areas)[0]:
        x, y, w, h = cv2.boundingRect((labels == obj + 1).view(np.uint8))
        boxes[obj] = (x, y, x + w, y + h)
    return boxes, areas


def full_area(outline: np.ndarray) -> float:
    """Returns the largest unoccluded area of an object over the clip in pixels, by the shoelace formula."""
    x, y = np.moveaxis(outline / 2.0**_SUBPIXEL, -1, 0)
    return float(0.5 * np.abs((x * np.roll(y, -1, -1) - y * np.roll(x, -1, -1)).sum(-1)).max())


@lru_cache(maxsize=8)
def _noise(size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative part of camera noise, larger than a frame so that each frame uses another crop."""
    rng = np.random.default_rng(0)
    shape = (size_wh[1] + 64, size_wh[0] + 64, 3)
    noise = np.rint(rng.normal(0, 5, shape))
    return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)


SHAPES_COMMENT = "thinkseg-shapes"
"""Tag of video files that show this world, see `shows_shapes`."""


class ShapesVideo:
    """The frames of a clip, rendered on access. Satisfies `types.Frames`."""

    fps: float | None = FPS
    comment = SHAPES_COMMENT

    def __init__(self, clip: Clip, size_wh: tuple[int, int], name: str) -> None:
        self.clip = clip
        self.size_wh = size_wh
        self.name = name
        self._outlines = corners(clip, size_wh)
        rng = np.random.default_rng(clip.appearance_seed)
        self._tints = [_tint(rng, color) for color in clip.colors]
        self._marks = [self._mark(obj) for obj in range(clip.num_objects)]
        self._background = _background(rng, size_wh)
        self._light = _light(rng, size_wh)
        self._pen = max(1, round(min(size_wh) / 112))
        self._noise_steps = rng.integers(0, 64, (clip.num_frames, 2))

    def _mark(self, obj: int) -> tuple[str, np.ndarray] | None:
        """Tone and corners in every frame of the mark painted on an object."""
        tone, corners = MARKS.get(self.clip.shapes[obj], ("", None))
        return None if corners is None else (tone, _fixed_point(polygons(self.clip, obj, corners), self.size_wh))

    def __len__(self) -> int:
        return self.clip.num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: no frame {index}; the clip has frames 0..{len(self) - 1}")
        frame = self._background.copy()
        for outline, tint, mark in zip(self._outlines, self._tints, self._marks, strict=True):
            cv2.fillPoly(frame, [outline[index]], tint, cv2.LINE_AA, _SUBPIXEL)
            cv2.polylines(frame, [outline[index]], True, _TONES["dark"], self._pen, cv2.LINE_AA, _SUBPIXEL)
            if mark is not None:
                cv2.fillPoly(frame, [mark[1][index]], _TONES[mark[0]], cv2.LINE_AA, _SUBPIXEL)
        frame = cv2.multiply(frame, self._light, scale=1 / 200)
        width, height = self.size_wh
        dx, dy = self._noise_steps[index]
        positive, negative = _noise(self.size_wh)
        frame = cv2.add(frame, positive[dy : dy + height, dx : dx + width])
        return cv2.subtract(frame, negative[dy : dy + height, dx : dx + width])

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (self[i] for i in indices)

    def time_of(self, index: int) -> float:
        return index / FPS


def _tint(rng: np.random.Generator, color: str) -> tuple[int, ...]:
    return tuple(int(c) for c in np.clip(np.array(COLORS[color]) + rng.normal(0, 9, 3), 0, 255))


def _background(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Soft clouds of muted color under a fine grain."""
    clouds = rng.uniform(50, 140, (5, 5, 1)) + rng.uniform(0, 50, (5, 5, 3)) + rng.uniform(0, 30, 3)
    smooth = cv2.resize(clouds.astype(np.float32), size_wh, interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(rng.normal(0, 9, (28, 28, 1)).astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR)
    return np.clip(smooth + grain[..., None], 0, 255).astype(np.uint8)


def _light(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """A slow change of brightness over the frame; 200 leaves it unchanged."""
    field = cv2.resize(rng.uniform(165, 230, (2, 2)).astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR)
    return np.repeat(field.astype(np.uint8)[..., None], 3, -1)


def shows_shapes(video: Frames) -> bool:
    """Whether a video shows this world: a rendered clip, or a video file that is tagged as one."""
    return getattr(video, "comment", "") == SHAPES_COMMENT
