"""Tracks for annotation tools: polygons for CVAT, boxes for Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from thinkseg.ops.masks import decode, outline
from thinkseg.report.formats.coco import category_of
from thinkseg.report.formats.videos import FOLDER_FPS
from thinkseg.rle import rle_box
from thinkseg.storage.atomic import write_json
from thinkseg.types import Segmentation, Track, part_of

TOLERANCE = 1.0
"""Pixels between a polygon and the edge of its mask: with fewer points, a person can move them."""


def write_cvat(result: Segmentation, folder: Path) -> None:
    """Writes cvat.xml, "CVAT for video 1.1": a track per object, with a polygon in each frame that shows it."""
    part, label = part_of(result.sample.video), category_of(result)
    with (folder / "cvat.xml").open("w", encoding="utf-8") as file:
        xml = _Xml(file)
        with xml.element("annotations"):
            xml.leaf("version", "1.1")
            with xml.element("meta"), xml.element("task"):
                xml.leaf("name", result.sample.id)
                xml.leaf("size", part.num_frames)
                xml.leaf("mode", "interpolation")
                with xml.element("labels"), xml.element("label"):
                    xml.leaf("name", label)
                    xml.leaf("attributes", "")
                with xml.element("original_size"):
                    xml.leaf("width", part.size_wh[0])
                    xml.leaf("height", part.size_wh[1])
            for obj, track in enumerate(result.masklets.rles):
                with xml.element("track", id=obj, label=label, source="auto"):
                    for polygon in _polygons(track, result):
                        xml.leaf("polygon", "", **polygon)


def write_labelstudio(result: Segmentation, folder: Path) -> None:
    """Writes labelstudio.json: a task with predicted tracks of boxes, for the template "Video Object Tracking"."""
    tracks = [_boxes(result, obj) for obj in range(result.masklets.num_objects)]
    policy = {"model_version": "thinkseg", "result": tracks}
    write_json([{"data": {"video": result.sample.id}, "predictions": [policy]}], folder / "labelstudio.json")


def _polygons(track: Track, result: Segmentation) -> Iterator[dict[str, Any]]:
    """Yields the shapes of a track in frames and pixels of the source.

    CVAT shows a shape up to the next one, so that the first frame without the object is "outside", and so is the one
    behind a part of a video.
    """
    part, points = part_of(result.sample.video), ""
    scale = np.divide(part.size_wh, result.masklets.size_wh)
    after = [] if part.indices[-1] == part.num_frames - 1 else [part.indices[-1] + 1]
    for frame, rle in zip_longest([*part.indices, *after], track):
        polygon = np.zeros((0, 2)) if rle is None else outline(decode(rle), TOLERANCE)
        hidden = len(polygon) == 0
        if not hidden:
            points = ";".join(f"{x:.6g},{y:.6g}" for x, y in (polygon * scale).tolist())
        if points:
            yield {"frame": frame, "outside": int(hidden), "occluded": 0, "keyframe": 1, "points": points, "z_order": 0}
        if hidden:
            points = ""


def _boxes(result: Segmentation, obj: int) -> dict[str, Any]:
    """Returns the track of an object. A box that is not "enabled" is the last one before the object disappears."""
    video, track = result.sample.video, result.masklets.rles[obj]
    width, height = video.size_wh
    part = part_of(video)
    rate = video.fps * part.indices.step if video.fps else FOLDER_FPS
    sequence: list[dict[str, Any]] = []
    for frame, rle in enumerate(track):
        if rle is None or (box := rle_box(rle)) is None:
            if sequence:
                sequence[-1]["enabled"] = False
            continue
        x1, y1, x2, y2 = (100 * side / size for side, size in zip(box, (width, height) * 2, strict=True))
        place = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
        time = video.time_of(frame)
        index = part.indices[frame]
        sequence.append({"frame": index + 1, "time": index / rate if time is None else time, "enabled": True, **place})
    if sequence and part.indices[-1] < part.num_frames - 1:
        sequence[-1]["enabled"] = False
    value = {"framesCount": part.num_frames, "duration": part.num_frames / rate, "sequence": sequence}
    names = {"id": f"object{obj + 1}", "type": "videorectangle", "from_name": "box", "to_name": "video"}
    return {**names, "value": {**value, "labels": [category_of(result)]}}


class _Xml:
    """Writes XML as it is built, without characters that XML cannot hold."""

    def __init__(self, file: Any) -> None:
        self._out = XMLGenerator(file, "utf-8", short_empty_elements=True)
        self._out.startDocument()

    @contextmanager
    def element(self, name: str, **attributes: object) -> Iterator[None]:
        self._out.startElement(name, AttributesImpl({key: _printable(value) for key, value in attributes.items()}))
        yield
        self._out.endElement(name)
        self._out.ignorableWhitespace("\n")

    def leaf(self, name: str, content: object, **attributes: object) -> None:
        with self.element(name, **attributes):
            self._out.characters(_printable(content))


def _printable(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())
