"""Tables of boxes and areas (CSV), and arrays of masks (NPZ)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from thinkseg.rle import rle_area, rle_box
from thinkseg.types import Segmentation, part_of

COLUMNS = ("frame", "time", "object", "x1", "y1", "x2", "y2", "area", "confidence")


def write_csv(result: Segmentation, folder: Path) -> None:
    """Writes objects.csv: a row per frame and visible object, see docs/formats.md."""
    with (folder / "objects.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(_rows(result))


def write_npz(result: Segmentation, folder: Path) -> None:
    """Writes masks.npz, compressed, for `numpy.load`; its arrays are in docs/formats.md."""
    masklets, video = result.masklets, result.sample.video
    keyframe = -1 if result.answer is None or result.answer.keyframe is None else result.answer.keyframe
    times = [video.time_of(frame) for frame in range(len(video))]
    arrays = {
        "frames": np.array(part_of(video).indices),
        "times": np.array([np.nan if time is None else time for time in times]),
        "boxes": _boxes(result),
        "query": np.array(result.sample.query),
        "keyframe": np.array(keyframe),
    }
    if masklets.confidence is not None:
        arrays["confidence"] = masklets.confidence
    # The fastest level: most of a mask is runs of equal bytes.
    with ZipFile(folder / "masks.npz", "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.save(entry, array, allow_pickle=False)
        with file.open("masks.npy", "w", force_zip64=True) as entry:
            _write_masks(result, entry)


def _rows(result: Segmentation) -> Iterator[tuple[Any, ...]]:
    masklets, video = result.masklets, result.sample.video
    confidence, indices = masklets.confidence, part_of(video).indices
    for frame in range(masklets.num_frames):
        time = video.time_of(frame)
        for obj, track in enumerate(masklets.rles):
            rle = track[frame]
            if rle is None or (box := rle_box(rle)) is None:
                continue
            certain = "" if confidence is None else f"{confidence[obj, frame]:.4f}"
            yield indices[frame], "" if time is None else f"{time:.6f}", obj + 1, *box, rle_area(rle), certain


def _boxes(result: Segmentation) -> np.ndarray:
    """Returns the boxes of all objects, float32 (N, T, 4), NaN where one is not visible."""
    masklets = result.masklets
    boxes = np.full((masklets.num_objects, masklets.num_frames, 4), np.nan, np.float32)
    for obj, track in enumerate(masklets.rles):
        for frame, rle in enumerate(track):
            if rle is not None and (box := rle_box(rle)) is not None:
                boxes[obj, frame] = box
    return boxes


def _write_masks(result: Segmentation, file: IO[bytes]) -> None:
    """Writes all masks as an array file, bool (N, T, H, W), of which one mask at a time is in memory."""
    masklets = result.masklets
    width, height = masklets.size_wh
    shape = (masklets.num_objects, masklets.num_frames, height, width)
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(bool)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    for obj in range(masklets.num_objects):
        for frame in range(masklets.num_frames):
            file.write(masklets.mask(frame, obj).tobytes())
