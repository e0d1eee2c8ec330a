"""The images of an answer: a film strip, its keyframe, and a sheet of frames with masks to scrub through.

In: videos with predicted and true masks (`Scene`). Out: JPEG files, and what a page says about them (`Pictures`). Each
video is decoded once for all answers about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thinkseg.chains.frames import sample_indices
from thinkseg.evaluation.predictions import Masks
from thinkseg.report.film_strips import frame_labels
from thinkseg.types import Frames, Masklets, Segmentation

SHEET_FRAMES, SHEET_COLUMNS = 24, 6
"""Frames of a sheet, and frames per row."""

CELL, KEYFRAME_SIDE = 320, 640
"""Longest side in pixels of a frame on a sheet, and of a keyframe."""

STRIP_FRAME, STRIP_WIDTH = 170, 1020
"""Width in pixels of a frame in a film strip, unless that would make it wider than the page."""

JPEG_QUALITY = 75

TRUTH_COLOR = (255, 255, 255)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is drawn of an answer.

    keyframe: index into the video, None without one. boxes: predicted, (N, 4) xyxy in pixels of the video.
    predicted, truth: masks, None if there are none. scored: indices of the frames in which the truth is known.
    shown: indices of the frames that the policy was shown.
    """

    video: Frames
    keyframe: int | None
    boxes: np.ndarray
    predicted: Masks | None
    truth: Masklets | None
    scored: Sequence[int]
    shown: Sequence[int]

    @classmethod
    def of(cls, result: Segmentation, num_frames: int) -> Scene:
        """Returns the scene of a result whose truth, if any, is known in all frames. num_frames: that were shown."""
        video, answer, outcome = result.sample.video, result.answer, result.outcome
        boxes = answer.boxes if answer else np.zeros((0, 4))
        predicted = result.masklets if answer else None
        shown = sample_indices(len(video), num_frames)
        return cls(video, outcome.keyframe, boxes, predicted, result.sample.truth, range(len(video)), shown)

    @property
    def sheet(self) -> tuple[int, ...]:
        """Indices of the frames of the sheet: scored ones, evenly spaced, and the keyframe."""
        scored = self.scored or range(len(self.video))
        chosen = {scored[position] for position in sample_indices(len(scored), SHEET_FRAMES - 1)}
        return tuple(sorted(chosen if self.keyframe is None else {*chosen, self.keyframe}))

    @property
    def frames(self) -> set[int]:
        """Indices of all frames that are drawn."""
        return {*self.sheet, *self.shown}


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a sheet. label: its time or index. j, confidence, share: None if unknown.

    confidence: of the tracker, the mean over objects. share: of the frame that the targets cover.
    """

    frame: int
    label: str
    j: float | None
    confidence: float | None
    share: float | None

    @property
    def texts(self) -> list[str]:
        """The label and the values as text, "" for one that is unknown."""
        return [
            self.label,
            "" if self.j is None else f"J {self.j:.2f}",
            "" if self.confidence is None else f"confidence {self.confidence:.2f}",
            "" if self.share is None else f"target {100 * self.share:.1f} %",
        ]


@dataclass(frozen=True, slots=True)
class Sheet:
    """An image of frames in rows of `SHEET_COLUMNS`. start: the position of the frame that is shown first.

    length: frames of the video. best: the frame shown to the policy in which the targets are largest, if known.
    """

    src: str
    cell_wh: tuple[int, int]
    moments: tuple[Moment, ...]
    start: int
    length: int
    keyframe: int | None
    best: int | None

    @property
    def columns(self) -> int:
        """Frames per row."""
        return min(SHEET_COLUMNS, len(self.moments))

    @property
    def rows(self) -> int:
        """Rows of frames."""
        return -(-len(self.moments) // SHEET_COLUMNS)

    @property
    def positions(self) -> list[float]:
        """Where each frame is in the video, in percent of its length."""
        return [self.position(moment.frame) for moment in self.moments]

    def position(self, frame: int) -> float:
        """Returns where a frame is in the video, in percent of its length."""
        return round(100 * frame / max(1, self.length - 1), 2)

    def line(self, name: str, height: float) -> str:
        """Returns the points of a curve over the video, in SVG units: x from 0 to 100, y from `height` (0) to 0 (1).

        name: of a value of a moment. The share is drawn relative to its maximum. "" if no value is known.
        """
        known = [(moment.frame, getattr(moment, name)) for moment in self.moments if getattr(moment, name) is not None]
        top = max((value for _, value in known), default=0.0) or 1.0 if name == "share" else 1.0
        return " ".join(f"{self.position(frame)},{height * (1 - value / top):.1f}" for frame, value in known)


@dataclass(frozen=True, slots=True)
class KeyframeImage:
    """The keyframe.

    label: its time or index. best: what it is like beside the frame shown in which the targets are largest, "" if that
    is unknown. predicted, true: boxes, xyxy in pixels of the video, whose size is size_wh.
    """

    src: str
    size_wh: tuple[int, int]
    label: str
    best: str
    predicted: Sequence[Sequence[float]]
    true: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The images of an answer. strip: the URL of a film strip, whose frames are `num_shown`."""

    strip: str
    sheet: Sheet
    keyframe: KeyframeImage | None


def draw_all(scenes: Mapping[str, Scene], folder: Path) -> dict[str, Pictures]:
    """Writes the images of scenes of one video, whose names they have, and returns what they show, by name.

    folder: of the images, named relative to its parent. Raises VideoError or DatasetError for a frame or mask that
    cannot be read.
    """
    wanted = sorted(set().union(*(scene.frames for scene in scenes.values())))
    video = next(iter(scenes.values())).video
    frames = dict(zip(wanted, video.read(wanted), strict=True))
    return {name: _draw(scene, frames, folder, name) for name, scene in scenes.items()}


def _draw(scene: Scene, frames: Mapping[int, np.ndarray], folder: Path, name: str) -> Pictures:
    areas = {index: truth.sum() for index in scene.shown if (truth := _truth(scene, index)) is not None}
    best = max(areas, key=lambda index: (areas[index], index == scene.keyframe)) if any(areas.values()) else None
    return Pictures(
        strip=_save(_strip(scene, frames), folder / f"{name}-strip.jpg"),
        sheet=_sheet(scene, frames, best, folder / f"{name}-sheet.jpg"),
        keyframe=_keyframe(scene, frames, best, folder / f"{name}-keyframe.jpg"),
    )


def _strip(scene: Scene, frames: Mapping[int, np.ndarray]) -> np.ndarray:
    from thinkseg.ops import draw

    indices = list(scene.shown)
    return draw.film_strip(
        [frames[index] for index in indices],
        frame_labels(scene.video, indices),
        highlight=indices.index(scene.keyframe) if scene.keyframe in indices else None,
        boxes=scene.boxes,
        masks=[_masks(scene.predicted, index, scene.video.size_wh) for index in indices],
        width=min(STRIP_WIDTH, STRIP_FRAME * max(3, len(indices))),
    )


def _sheet(scene: Scene, frames: Mapping[int, np.ndarray], best: int | None, path: Path) -> Sheet:
    indices = scene.sheet
    width, height = _fitting(scene.video.size_wh, CELL)
    rows = -(-len(indices) // SHEET_COLUMNS)
    sheet = np.zeros((rows * height, min(SHEET_COLUMNS, len(indices)) * width, 3), np.uint8)
    moments = []
    for position, (index, label) in enumerate(zip(indices, frame_labels(scene.video, indices), strict=True)):
        row, column = divmod(position, SHEET_COLUMNS)
        cell = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        masks, truth = _masks(scene.predicted, index, scene.video.size_wh), _truth(scene, index)
        cell[:] = _tinted(frames[index], masks, truth, (width, height))
        moments.append(_moment(scene, index, label, np.logical_or.reduce(masks, axis=0), truth))
    return Sheet(
        src=_save(sheet, path),
        cell_wh=(width, height),
        moments=tuple(moments),
        start=0 if scene.keyframe is None else indices.index(scene.keyframe),
        length=len(scene.video),
        keyframe=scene.keyframe,
        best=best,
    )


def _tinted(frame: np.ndarray, masks: np.ndarray, truth: np.ndarray | None, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns a small frame with the predicted masks tinted and the true one outlined."""
    from thinkseg.ops import draw

    image = draw.thumbnail(frame, masks, None, size_wh)
    return image if truth is None else draw.outlined(image, draw.shrunk(truth, size_wh), TRUTH_COLOR)


def _moment(scene: Scene, index: int, label: str, predicted: np.ndarray, truth: np.ndarray | None) -> Moment:
    """predicted, truth: merged masks, bool (H, W)."""
    confidence = getattr(scene.predicted, "confidence", None)
    sure = None if confidence is None or not len(confidence) else float(confidence[:, index].mean())
    if truth is None:
        return Moment(index, label, None, sure, None)
    union = (predicted | truth).sum()
    j = float((predicted & truth).sum() / union) if union else 1.0
    return Moment(index, label, j if scene.predicted else 0.0, sure, float(truth.mean()))


def _keyframe(scene: Scene, frames: Mapping[int, np.ndarray], best: int | None, path: Path) -> KeyframeImage | None:
    import cv2

    if scene.keyframe is None:
        return None
    size_wh = scene.video.size_wh
    image = cv2.resize(frames[scene.keyframe], _fitting(size_wh, KEYFRAME_SIDE), interpolation=cv2.INTER_AREA)
    known = scene.truth is not None and scene.keyframe in scene.scored
    true = scene.truth.boxes(scene.keyframe).tolist() if scene.truth and known else []
    label = frame_labels(scene.video, [scene.keyframe])[0]
    return KeyframeImage(_save(image, path), size_wh, label, _beside(scene, best), scene.boxes.tolist(), true)


def _beside(scene: Scene, best: int | None) -> str:
    """Says what the keyframe is like beside the best frame shown."""
    if best is None or best == scene.keyframe:
        return "" if best is None else "the best frame shown"
    return f"the target is largest at {frame_labels(scene.video, [best])[0]}"


def _masks(masks: Masks | None, index: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns the masks of a frame, bool (N, H, W): of each object, or merged if they are not known apart."""
    if masks is None:
        return np.zeros((0, *size_wh[::-1]), bool)
    return masks.masks(index) if isinstance(masks, Masklets) else masks.union(index)[None]


def _truth(scene: Scene, index: int) -> np.ndarray | None:
    return scene.truth.union(index) if scene.truth is not None and index in scene.scored else None


def _fitting(size_wh: tuple[int, int], longest: int) -> tuple[int, int]:
    """Returns a size of the same shape whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _save(image: np.ndarray, path: Path) -> str:
    """Writes an image as JPEG, and returns its path relative to the page."""
    from PIL import Image

    Image.fromarray(image).save(path, quality=JPEG_QUALITY)
    return f"{path.parent.name}/{path.name}"
