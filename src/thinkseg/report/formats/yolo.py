"""A data set to train YOLO segmentation models on: frames as JPEG, and a polygon per visible object."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from thinkseg.errors import VideoError
from thinkseg.ops.frame_folder import frame_names
from thinkseg.ops.masks import outline
from thinkseg.report.formats.coco import category_of
from thinkseg.report.formats.writing import Add, MaskedFrame
from thinkseg.types import Segmentation

TOLERANCE = 0.5
"""Pixels between a polygon and the edge of its mask."""

JPEG_QUALITY = 95


@contextmanager
def dataset(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes yolo/data.yaml, yolo/images/00000.jpg and yolo/labels/00000.txt; see docs/formats.md."""
    from PIL import Image

    root, names = folder / "yolo", frame_names(result.sample.video)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    # Without the field "path", folders are relative to this file. A JSON string is YAML, too.
    label = json.dumps(category_of(result), ensure_ascii=False)
    (root / "data.yaml").write_text(f"train: images\nval: images\nnames:\n  0: {label}\n", encoding="utf-8")

    def add(frame: MaskedFrame) -> None:
        assert frame.image is not None
        name = names[frame.index]
        Image.fromarray(frame.image).save(root / "images" / f"{name}.jpg", quality=JPEG_QUALITY)
        (root / "labels" / f"{name}.txt").write_text(label_lines(frame.masks), encoding="ascii")

    try:
        yield add
    except VideoError:
        shutil.rmtree(root)
        raise


def label_lines(masks: np.ndarray) -> str:
    """Returns a line "0 x1 y1 x2 y2 ..." per visible object, as shares of width and height. masks: bool (N, H, W)."""
    height, width = masks.shape[1:]
    polygons = [outline(mask, TOLERANCE) / (width, height) for mask in masks]
    return "".join(f"0 {' '.join(f'{side:.6g}' for side in polygon.ravel())}\n" for polygon in polygons if len(polygon))
