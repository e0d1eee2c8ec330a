"""The formats in which the masks of a result are written; see docs/formats.md.

FORMATS["coco"]     a format; `writing.write_formats` writes it

Objects are numbered from 1 in all of them. This module imports no writer, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from thinkseg.errors import SettingsError

__all__ = ["DEFAULT", "FORMATS", "Format", "checked_formats"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    file: the file, or the folder of files, that it writes. write: its writer, "module.function" of this package,
    imported on use. needs: what the writer reads.

    "tracks": write(result, folder) writes all from the RLEs.
    "masks", "frames": write(result, folder) is a context manager, which yields a function that is called with each
        `writing.MaskedFrame` in order. With "masks", its image may be None.
    """

    file: str
    write: str
    needs: Literal["tracks", "masks", "frames"] = "tracks"


FORMATS: dict[str, Format] = {
    "masks": Format("masks", "images.merged", "masks"),
    "objects": Format("objects", "images.by_object", "masks"),
    "labels": Format("labels", "images.label_maps", "masks"),
    "coco": Format("coco.json", "coco.write_coco"),
    "ytvis": Format("ytvis.json", "coco.write_ytvis"),
    "yolo": Format("yolo", "yolo.dataset", "frames"),
    "npz": Format("masks.npz", "tables.write_npz"),
    "overlay": Format("overlay.mp4", "videos.overlay", "frames"),
    "cutout": Format("cutout.webm", "videos.cutout", "frames"),
    "csv": Format("objects.csv", "tables.write_csv"),
    "cvat": Format("cvat.xml", "annotation_tools.write_cvat"),
    "labelstudio": Format("labelstudio.json", "annotation_tools.write_labelstudio"),
}
"""Formats by the name that `segment --save` and `convert --to` take."""

DEFAULT = ("masks", "overlay")
"""Formats that `segment` writes if none are named."""


def checked_formats(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names of formats without repetition. Raises SettingsError for an unknown one, or if there is none."""
    names = tuple(dict.fromkeys(names))
    if unknown := [name for name in names if name not in FORMATS]:
        raise SettingsError(f"format: {unknown[0]!r} is unknown; give some of {', '.join(FORMATS)}")
    if not names:
        raise SettingsError(f"format: none is named; give some of {', '.join(FORMATS)}")
    return names
