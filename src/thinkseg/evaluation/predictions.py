"""Predicted masks as files, written and read.

Each form lies below one folder; the masks of ViCaS may also come in its own form (`VicasPredictions`).

    <folder>/<frame>.png            8 bits, 0 outside and 255 inside, all objects merged; <folder> is one of
                                    `Expression.folders`, which a benchmark's own scripts write and read; they read
                                    every pixel that is not black as inside
    masks/<video>/<expression>.json {"size": [height, width], "frames": T, "objects": [[RLE or null, ...], ...]},
                                    objects apart, in the folder of `thinkseg evaluate`; with "confidence" per object
                                    and frame, if the tracker states it

Masks are decoded on access. An expression without files was not answered, or its reply could not be used.
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
from thinkseg.data.readers.mask_tracks import checked_rle, stored_masklets
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.ops.masks import json_of
from thinkseg.rle import Rle
from thinkseg.storage.atomic import replacing
from thinkseg.storage.run_folder import SETTINGS
from thinkseg.types import Masklets

MASKS = "masks"
"""Folder of the masks in the folder of an evaluation."""

MISSING, INCOMPLETE, SIZE_MISMATCH, UNREADABLE = "missing", "incomplete", "size_mismatch", "unreadable"
"""Failures of the masks predicted for an expression; see `REASONS`."""

REASONS = {
    MISSING: "there are no masks; check the names of the folders",
    INCOMPLETE: "masks of some frames are missing; write one per frame",
    SIZE_MISMATCH: "masks have another size than the video; write them in its size",
    UNREADABLE: "masks cannot be read; write them again",
}
"""Meanings of the failures, with remedies."""

_REASONS_OF = {"size_mismatch": SIZE_MISMATCH, "missing_frame": INCOMPLETE}
"""Failures by the kind of an issue of a file; all others are `UNREADABLE`."""


class PredictionError(DatasetError):
    """A predicted mask that cannot be used. reason: one of the failures above."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Masks(Protocol):
    """Masks of a video, all objects merged, decoded on access. `Masklets` satisfy it."""

    def union(self, frame: int) -> np.ndarray:
        """Returns the mask of one frame, bool (H, W). Raises PredictionError if it cannot be used."""
        ...


class Predictions(Protocol):
    """Masks predicted for the expressions of a benchmark. Can be pickled."""

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        """Returns the masks of an expression, which must be of this size; None if there are no files."""
        ...


def open_predictions(root: str | Path, name: str) -> Predictions:
    """Opens a folder of predictions for the benchmark `name`, in any form. Raises SettingsError if it is missing."""
    root = Path(root)
    if not os.path.isdir(root):
        raise SettingsError(f"{root}: no such folder; choose one with predictions")
    if (root / SETTINGS).exists() and (root / MASKS).is_dir():
        return RlePredictions(root)
    if name == "vicas" and any(path.stem.isdecimal() for path in root.glob("*.json")):
        return VicasPredictions(root)
    # The evaluators of benchmarks merge all values; the user's own data have no evaluator that would define it.
    return PngPredictions(root, one_value=name == "folder")


@dataclass(frozen=True, slots=True)
class PngPredictions:
    """Mask images in a benchmark's own layout.

    one_value: whether all pixels inside must have one value, see `mask_image`.
    """

    root: Path
    one_value: bool = False

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masks | None:
        for folder in expression.folders:
            if os.path.isdir(self.root / folder):
                _check_names(self.root / folder, video)
                return _PngMasks(self.root / folder, video.frames, size_wh, self.one_value)
        return None


@dataclass(frozen=True, slots=True)
class _PngMasks:
    """One image per frame."""

    folder: Path
    frames: Sequence[str]
    size_wh: tuple[int, int]
    one_value: bool

    def union(self, frame: int) -> np.ndarray:
        # Joining Path objects would take as long as scoring the mask.
        path = f"{self.folder}/{self.frames[frame]}.png"
        try:
            return mask_image(path, self.size_wh, self.one_value)
        except DatasetFileError as error:
            unreadable = UNREADABLE if os.path.exists(path) else INCOMPLETE
            reason = SIZE_MISMATCH if error.kind == "size_mismatch" else unreadable
            raise PredictionError(reason, str(error)) from None


def _check_names(folder: Path, video: Video) -> None:
    """Raises PredictionError if images are numbered otherwise than the frames: some names would still fit by chance."""
    names = {name.removesuffix(".png") for name in os.listdir(folder) if name.endswith(".png")}
    surplus = sorted(name for name in names.difference(video.frames) if name.isdecimal())
    lacking = sorted(set(video.frames) - names)
    if surplus and lacking and names.intersection(video.frames):
        raise PredictionError(
            INCOMPLETE,
            f"{folder}: {surplus[0]}.png is no frame, and {lacking[0]}.png is missing; name masks like the frames",
        )


@dataclass(frozen=True, slots=True)
class RlePredictions:
    """The masks in the folder of an evaluation."""

    root: Path

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets | None:
        path = rle_path(self.root, expression)
        return read_masklets(path, len(video.frames), size_wh) if os.path.exists(path) else None


class VicasPredictions:
    """One JSON file per video, the form of ViCaS' own scripts.

    <000042>.json   {"pred_lgvis_masks": [prompt, ...]}, a prompt being [{"filename": "00000.jpg",
                    "mask_rles": [RLE of each track, ...]}, ...]
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._latest: tuple[Path, list[JsonNode]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}

    def of(self, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets | None:
        path = self.root / f"{video.id}.json"
        if not os.path.exists(path):
            return None
        try:
            if self._latest is None or self._latest[0] != path:
                # Prompts of a video are consecutive.
                self._latest = path, read_prompts(path)
            prompts, position = self._latest[1], int(expression.id)
            return tracks_of(prompts[position], expression, video, size_wh) if position < len(prompts) else None
        except DatasetFileError as error:
            raise PredictionError(_REASONS_OF.get(error.kind, UNREADABLE), str(error)) from None


def rle_path(root: Path, expression: Expression) -> Path:
    """Returns the path of an expression's masks in the folder of an evaluation."""
    return root / MASKS / expression.video / f"{expression.id}.json"


def write_masklets(masklets: Masklets, path: Path) -> None:
    """Writes masks as RLEs, atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json_of(masklets))


def read_masklets(path: Path, num_frames: int, size_wh: tuple[int, int]) -> Masklets:
    """Reads a file of `write_masklets`. Raises PredictionError if it is invalid or of another length or size."""
    try:
        return stored_masklets(read_json(path), num_frames, size_wh)
    except DatasetFileError as error:
        raise PredictionError(_REASONS_OF.get(error.kind, UNREADABLE), str(error)) from None


def write_pngs(masks: Masks, frames: Iterable[int], video: Video, folder: Path) -> None:
    """Writes one image per frame. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in frames:
        (folder / f"{video.frames[frame]}.png").write_bytes(encode_png(masks.union(frame)))


def encode_png(mask: np.ndarray) -> bytes:
    """Returns a mask, bool (H, W), as a gray PNG file: 0 outside, 255 inside."""
    import cv2

    written, data = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255))
    if not written:
        raise DatasetFileError("missing_mask", f"a mask of shape {mask.shape} cannot be encoded as PNG")
    return data.tobytes()


def read_prompts(path: Path) -> list[JsonNode]:
    """Returns the predictions of each prompt in a file of ViCaS' form. Raises DatasetFileError if it is invalid."""
    return read_json(path)["pred_lgvis_masks"].items()


def tracks_of(prompt: JsonNode, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets:
    """Returns the tracks predicted for a prompt; frames that are missing and not scored have no masks.

    Raises DatasetFileError of the kind "missing_frame" for a missing scored frame, "size_mismatch" or "invalid_rle"
    for a mask of another size or an invalid one, "missing_mask" if frames differ in their number of masks.
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
    no_masks: list[Rle | None] = [None] * max(counts, default=0)
    frames = [found.get(position, no_masks) for position in range(len(video.frames))]
    return Masklets(size_wh, len(frames), tuple(zip(*frames, strict=True)))
