"""COCO and YouTube-VIS JSON, with exact masks as RLE: compressed in COCO, uncompressed in YouTube-VIS, as its own are.

The category is the query, and the track the number of an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from thinkseg.ops.frame_folder import image_names
from thinkseg.rle import Rle, rle_area, rle_box, to_runs
from thinkseg.types import Segmentation, part_of

NO_QUERY = "object"
"""The category of boxes that were given without a query."""


def category_of(result: Segmentation) -> str:
    """Returns the category of all objects."""
    return result.sample.query or NO_QUERY


def coco_of(result: Segmentation) -> dict[str, Any]:
    """Returns a result as COCO JSON values: an image per frame, an annotation per visible object in it."""
    return {**_coco_head(result), "annotations": list(_coco_annotations(result))}


def write_coco(result: Segmentation, folder: Path) -> None:
    """Writes coco.json."""
    _write(_coco_head(result), _coco_annotations(result), folder / "coco.json")


def write_ytvis(result: Segmentation, folder: Path) -> None:
    """Writes ytvis.json: one video, an annotation per object, with null in frames in which it is not visible."""
    width, height = result.sample.video.size_wh
    # By this folder, readers tell videos apart.
    names = [f"{result.sample.video.name}/{name}" for name in image_names(result.sample.video)]
    size = {"width": width, "height": height, "length": len(names)}
    head = {
        "info": {"description": result.sample.id},
        "videos": [{"id": 1, **size, "file_names": names}],
        "categories": [{"id": 1, "name": category_of(result)}],
    }
    _write(head, (_track(obj, track, size) for obj, track in enumerate(result.masklets.rles)), folder / "ytvis.json")


def _coco_head(result: Segmentation) -> dict[str, Any]:
    width, height = result.sample.video.size_wh
    names = image_names(result.sample.video)
    return {
        "info": {"description": result.sample.id},
        "images": [
            {"id": index + 1, "file_name": name, "width": width, "height": height, "frame": frame}
            for index, (name, frame) in enumerate(zip(names, part_of(result.sample.video).indices, strict=True))
        ],
        "categories": [{"id": 1, "name": category_of(result)}],
    }


def _coco_annotations(result: Segmentation) -> Iterator[dict[str, Any]]:
    number = 0
    for frame in range(result.masklets.num_frames):
        for obj, track in enumerate(result.masklets.rles):
            rle = track[frame]
            if rle is None or (box := _xywh(rle)) is None:
                continue
            number += 1
            yield {
                "id": number,
                "image_id": frame + 1,
                "category_id": 1,
                "track_id": obj + 1,
                "segmentation": dict(rle),
                "area": rle_area(rle),
                "bbox": box,
                "iscrowd": 0,
                **_score(result, obj, frame),
            }


def _score(result: Segmentation, obj: int, frame: int) -> dict[str, float]:
    confidence = result.masklets.confidence
    return {} if confidence is None else {"score": round(float(confidence[obj, frame]), 4)}


def _track(obj: int, track: Iterable[Rle | None], size: Mapping[str, int]) -> dict[str, Any]:
    boxes = [rle and _xywh(rle) for rle in track]
    visible = [None if box is None else rle for rle, box in zip(track, boxes, strict=True)]
    return {
        "id": obj + 1,
        "video_id": 1,
        "category_id": 1,
        **size,
        "segmentations": [rle and to_runs(rle) for rle in visible],
        "bboxes": boxes,
        "areas": [rle and rle_area(rle) for rle in visible],
        "iscrowd": 0,
    }


def _xywh(rle: Rle) -> list[int] | None:
    """Returns the box of a mask as COCO writes it; None for an empty one."""
    box = rle_box(rle)
    return box and [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _write(head: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes a JSON object whose last field is a list, entry by entry."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{json.dumps(head)[:-1]}, "annotations": [')
        for number, annotation in enumerate(annotations):
            file.write(("," if number else "") + "\n" + json.dumps(annotation))
        file.write("\n]}\n")
