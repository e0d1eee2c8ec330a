"""Predicted masks as files: `Masklets` in, files out, and back.

In two forms, both below one folder, and for ViCaS in its own (`thinkseg.evaluation.predictions`):

    <folder>/<frame>.png            8 bits, 0 outside and 255 inside, all objects merged; <folder> is what a benchmark's
                                    own scripts write and read (`Expression.folders`)
    masks/<video>/<expression>.json {"size": [height, width], "frames": T, "objects": [[RLE or null, ...], ...]}, which
                                    keeps objects apart, beside the results of `thinkseg evaluate`

Nothing is decoded before it is used. An expression without its files was not answered, or its reply was of no use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_images import mask_image
from thinkseg.data.readers.mask_tracks import checked_rle
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.ops.masks import json_of
from thinkseg.rle import Rle
from thinkseg.storage.atomic import replacing
from thinkseg.storage.run_folder import SETTINGS
from thinkseg.types import Masklets

MASKS = "masks"
"""Where an evaluation keeps its masks, in its folder."""


MISSING, INCOMPLETE, SIZE, BROKEN = "missing", "incomplete", "size", "broken"
"""What can be wrong with the masks predicted for an expression: there are none; some frames lack; they are of another
size than the video; they cannot be read."""


class PredictionError(DatasetError):
    """A predicted mask that cannot be used. reason: one of the words above, so that they can be counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Masks(Protocol):
    """Masks of a video, all objects merged, decoded on demand. `Masklets` are such."""

    def union(self, frame: int) -> np.ndarray:
        """Mask of one frame, bool (H, W). Raises PredictionError if it cannot be used."""
        ...


class Predictions(Protocol):
    """Answers to the expressions of a benchmark. Can be copied to other processes."""

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        """The masks predicted for an expression, which should be of this size; None if there are none at all."""
        ...


def open_predictions(root: Path, name: str) -> Predictions:
    """Whatever form the predictions in a folder have. Raises SettingsError if there is no such folder.

    name: the benchmark they are for.
    """
    if not root.is_dir():
        raise SettingsError(f"there is no folder {root}: name one with predictions")
    if (root / SETTINGS).exists() and (root / MASKS).is_dir():
        return RlePredictions(root)
    if name == "vicas" and any(path.stem.isdecimal() for path in root.glob("*.json")):
        return VicasPredictions(root)
    return PngPredictions(root)


@dataclass(frozen=True, slots=True)
class PngPredictions:
    """PNG files in a benchmark's own layout."""

    root: Path

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        for folder in expression.folders:
            if os.path.isdir(self.root / folder):
                return _Pictures(self.root / folder, video.frames, size_wh)
        return None


@dataclass(frozen=True, slots=True)
class _Pictures:
    """One picture a frame."""

    folder: Path
    frames: Sequence[str]
    size_wh: tuple[int, int]

    def union(self, frame: int) -> np.ndarray:
        # Joining paths properly would take as long as scoring what is there.
        path = f"{self.folder}/{self.frames[frame]}.png"
        try:
            return mask_image(path, self.size_wh)
        except DatasetFileError as flaw:
            reason = SIZE if flaw.kind == "size_mismatch" else BROKEN if os.path.exists(path) else INCOMPLETE
            raise PredictionError(reason, str(flaw)) from None


@dataclass(frozen=True, slots=True)
class RlePredictions:
    """The masks that an evaluation left in its folder."""

    root: Path

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets | None:
        path = rle_path(self.root, expression)
        return read_masklets(path, len(video.frames), size_wh) if path.exists() else None


class VicasPredictions:
    """A JSON file a video, as the authors of ViCaS have it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._latest: tuple[Path, list[JsonNode]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets | None:
        path = self.root / f"{video.id}.json"
        if not path.exists():
            return None
        try:
            if self._latest is None or self._latest[0] != path:
                # Prompts of a video come together.
                self._latest = path, read_prompts(path)
            prompts, place = self._latest[1], int(expression.id)
            return tracks_of(prompts[place], expression, video, size_wh) if place < len(prompts) else None
        except DatasetFileError as flaw:
            reason = {"size_mismatch": SIZE, "missing_frame": INCOMPLETE}.get(flaw.kind, BROKEN)
            raise PredictionError(reason, str(flaw)) from None


def rle_path(root: Path, expression: Expression) -> Path:
    """Where the masks of an expression are in the folder of an evaluation."""
    return root / MASKS / expression.video / f"{expression.id}.json"


def write_masklets(masklets: Masklets, path: Path) -> None:
    """Writes masks as run lengths, a file that is there in full or not at all. Raises OSError if it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json_of(masklets))


def read_masklets(path: Path, num_frames: int, size_wh: tuple[int, int]) -> Masklets:
    """Reads them back. Raises PredictionError if they are not what `write_masklets` writes for a video like this."""
    try:
        objects = [entry.items() for entry in read_json(path)["objects"].items()]
        tracks = tuple(tuple(checked_rle(rle, size_wh) for rle in entries) for entries in objects)
    except DatasetFileError as flaw:
        raise PredictionError(SIZE if flaw.kind == "size_mismatch" else BROKEN, str(flaw)) from None
    if any(len(track) != num_frames for track in tracks):
        raise PredictionError(INCOMPLETE, f"{path} does not hold {num_frames} masks of each object")
    return Masklets(size_wh, num_frames, tracks)


def write_pictures(masks: Masks, frames: Iterable[int], video: Video, folder: Path) -> None:
    """Writes a picture for each of these frames. Raises OSError if that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        (folder / f"{video.frames[frame]}.png").write_bytes(png(masks.union(frame)))


def png(mask: np.ndarray) -> bytes:
    """A mask, bool (H, W), as a grey PNG file: 0 outside, 255 inside."""
    import cv2

    written, data = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255))
    if not written:
        raise DatasetFileError("missing_mask", f"a mask of shape {mask.shape} cannot be written as a PNG")
    return data.tobytes()


def read_prompts(path: Path) -> list[JsonNode]:
    """What a file predicts for each prompt of its video. Raises TreeError if it is broken."""
    return read_json(path)["pred_lgvis_masks"].items()


def tracks_of(prompt: JsonNode, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets:
    """The tracks predicted for a prompt; nothing is seen in frames that are not there.

    Raises DatasetFileError of the kind "missing_frame" for a missing scored frame, "size_mismatch" or "invalid_rle"
    for a mask of another size or an invalid one, "missing_mask" if frames differ in how many there are.
    """
    positions = {f"{name}.jpg": position for position, name in enumerate(video.frames)}
    found: dict[int, list[Rle | None]] = {}
    for frame in prompt.items():
        position = positions.get(frame["filename"].text())
        if position is not None:
            found[position] = [checked_rle(rle, size_wh) for rle in frame["mask_rles"].items()]
    if lost := [position for position in expression.scored if position not in found]:
        raise prompt.error("missing_frame", f"has no frame {video.frames[lost[0]]}.jpg, which is scored")
    counts = {len(masks) for masks in found.values()}
    if len(counts) > 1:
        raise prompt.error("missing_mask", f"has {min(counts)} masks in one frame and {max(counts)} in another")
    nothing: list[Rle | None] = [None] * max(counts, default=0)
    frames = [found.get(position, nothing) for position in range(len(video.frames))]
    return Masklets(size_wh, len(frames), tuple(zip(*frames, strict=True)))
