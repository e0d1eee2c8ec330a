"""Masks as PNG files per frame, in the size of the source, named as `thinkseg.ops.frame_folder.frame_names` says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.ops.frame_folder import frame_names
from thinkseg.report.formats.writing import Add, MaskedFrame
from thinkseg.types import Segmentation

MAX_LABELS = 255
"""Objects in a label map, whose values are 8 bits."""


@contextmanager
def merged(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes masks/00000.png: 8 bits, 0 outside and 255 inside any object."""
    names = _new_folder(folder / "masks", result)
    yield lambda frame: _write_mask(frame.union, folder / "masks" / names[frame.index])


@contextmanager
def by_object(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes objects/1/00000.png: a folder per object, 8 bits, 0 outside and 255 inside."""
    names = _new_folder(folder / "objects", result)
    numbers = range(1, result.masklets.num_objects + 1)
    for number in numbers:
        (folder / "objects" / str(number)).mkdir()

    def add(frame: MaskedFrame) -> None:
        for number, mask in zip(numbers, frame.masks, strict=True):
            _write_mask(mask, folder / "objects" / str(number) / names[frame.index])

    yield add


@contextmanager
def label_maps(result: Segmentation, folder: Path) -> Iterator[Add]:
    """Writes labels/00000.png: 8 bits with the palette of DAVIS, 0 outside, else the number of the object.

    Of objects that overlap, the smaller one in this frame is on top. Raises SettingsError for more than 255 objects.
    """
    if result.masklets.num_objects > MAX_LABELS:
        raise SettingsError(f"labels: {result.masklets.num_objects} objects; a label map has at most {MAX_LABELS}")
    names = _new_folder(folder / "labels", result)
    yield lambda frame: _write_labels(label_map(frame.masks), folder / "labels" / names[frame.index])


def label_map(masks: np.ndarray) -> np.ndarray:
    """Merges masks, bool (N, H, W), to a label map, uint8 (H, W); the smaller object is on top."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    areas = masks.sum(axis=(1, 2))
    for obj in np.argsort(-areas, kind="stable"):
        labels[masks[obj]] = obj + 1
    return labels


@cache
def davis_palette() -> bytes:
    """Returns the 256 RGB colors of DAVIS and Pascal VOC: the bits of a number are spread over three channels."""
    colors = np.zeros((256, 3), np.uint8)
    numbers = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (numbers >> (3 * bit + channel) & 1).astype(np.uint8) << (7 - bit)
    return colors.tobytes()


def _new_folder(folder: Path, result: Segmentation) -> tuple[str, ...]:
    """Makes a folder. Returns the names of its files."""
    folder.mkdir()
    return tuple(f"{name}.png" for name in frame_names(result.sample.video))


def _write_mask(mask: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(mask.astype(np.uint8) * 255).save(path, compress_level=3)


def _write_labels(labels: np.ndarray, path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(labels, mode="P")
    image.putpalette(davis_palette())
    image.save(path, compress_level=3)
