"""Reads and writes chain-of-thought (CoT) sets: samples with their reasoning.

    settings.json            how it was made, "view": {"num_frames", "frame_wh", "coordinates"}, "boxes_in_thinking"
    samples.jsonl            one sample per line
    frames/<id>/00000.jpg    the frames of the view without annotations, of size "frame_wh"

One line of samples.jsonl:

    {"id": "clip/3", "video": "clip", "query": "the cat that jumps", "category": "reasoning", "type": "reasoning",
     "targets": "single", "indices": [0, 12, 24], "labels": ["0.0", "1.0", "2.0"], "label_unit": "seconds",
     "size_wh": [640, 360], "frames": ["frames/clip/3/00000.jpg", ...], "keyframe": 12, "boxes": [[8, 16, 90, 71]],
     "thinking": "..."}

indices and keyframe are frame indices of the full video. boxes are xyxy in pixels of the video, whose size is size_wh.
A sample without a target has neither ("keyframe": null, "boxes": [], "targets": "none"). labels are the timestamps or
frame numbers in the prompt. If "boxes_in_thinking" is true, the thinking contains boxes in the units of the set's view,
and the set suits only that view.

Files are untrusted: a value that is not as documented, or that leads out of the folder, raises a DatasetFileError with
file, line and field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, is_safe_name, read_json, read_lines
from thinkseg.storage.atomic import delete, new_folder
from thinkseg.storage.fingerprint import file_fingerprint, sample_fingerprint, text_fingerprint
from thinkseg.types import RENAMED_COORDINATES, Coordinates, LabelUnit, View

Type = Literal["referring", "reasoning"]
Targets = Literal["single", "multiple", "none"]

SETTINGS, SAMPLES, FRAMES = "settings.json", "samples.jsonl", "frames"

JPEG_QUALITY = 95
MAX_FRAMES = 1024
"""Of a set, that its fingerprint reads."""

MAX_SIDE = 100_000
"""Pixels; a larger video size is invalid."""

_OLD_FIELDS = {"label_unit": "clock", "boxes_in_thinking": "tells_boxes"}
"""Names of fields in sets of version 0.1, which are still read."""


@dataclass(frozen=True, slots=True, eq=False)
class CotSample:
    """A query with the reasoning that leads to its answer; fields as in the file.

    boxes: float32 (N, 4) xyxy in pixels of the source. frames: paths below the set's folder, with slashes.
    """

    id: str
    video: str
    query: str
    category: str
    type: Type
    targets: Targets
    indices: tuple[int, ...]
    labels: tuple[str, ...]
    label_unit: LabelUnit
    size_wh: tuple[int, int]
    frames: tuple[str, ...]
    keyframe: int | None
    boxes: np.ndarray
    thinking: str


@dataclass(frozen=True, slots=True, eq=False)
class CotSet:
    """A chain-of-thought set.

    settings: the content of settings.json. view: number and size of the frames of a sample; fewer for a short video.
        Its label unit is that of the samples, "auto" if they differ.
    boxes_in_thinking: the thinking contains boxes in the units of that view.
    """

    root: Path
    settings: Mapping[str, Any]
    view: View
    boxes_in_thinking: bool
    samples: tuple[CotSample, ...]

    def fingerprint(self) -> dict[str, str]:
        """Returns the fingerprints of the samples, and of up to `MAX_FRAMES` frames."""
        frames = [self.root / name for sample in self.samples for name in sample.frames]
        return {
            SAMPLES: file_fingerprint(self.root / SAMPLES),
            SETTINGS: text_fingerprint(repr(self.view), repr(self.boxes_in_thinking)),
            FRAMES: sample_fingerprint(frames, MAX_FRAMES),
        }

    def images(self, sample: CotSample) -> list[np.ndarray]:
        """Reads the frames of a sample, uint8 RGB (H, W, 3) of one size. Raises VideoError if one is unreadable."""
        from thinkseg.ops.video import FrameFolder

        folder = FrameFolder([self.root / name for name in sample.frames], name=sample.id)
        return list(folder.read(range(len(folder))))


def read_cot_set(root: str | Path) -> CotSet:
    """Reads the set in a folder; `CotSet.images` reads the frames.

    Raises DatasetFileError, a DatasetError, if a file is not as documented above.
    """
    root = Path(root)
    settings = read_json(root / SETTINGS)
    view, boxes_in_thinking = _view(settings["view"]), _field(settings, "boxes_in_thinking").boolean()
    samples: dict[str, CotSample] = {}
    for _, row in read_lines(root / SAMPLES):
        sample = _sample(row)
        if len(sample.indices) > view.num_frames:
            raise row["indices"].error(
                "unexpected_count", f"must have at most {view.num_frames} entries, the num_frames of the view"
            )
        if sample.id in samples:
            raise row["id"].error("invalid_field", f"repeats {sample.id!r}; ids must be unique")
        samples[sample.id] = sample
    units = {sample.label_unit for sample in samples.values()}
    view = replace(view, label_unit=units.pop() if len(units) == 1 else "auto")
    return CotSet(root, settings.value, view, boxes_in_thinking, tuple(samples.values()))


def write_samples(samples: Iterable[CotSample], path: Path) -> None:
    """Writes samples.jsonl, one line per sample, in order."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{json.dumps(sample_to_json(sample))}\n" for sample in samples)


def sample_to_json(sample: CotSample) -> dict[str, Any]:
    """Converts a sample to the JSON object of its line."""
    return {
        "id": sample.id,
        "video": sample.video,
        "query": sample.query,
        "category": sample.category,
        "type": sample.type,
        "targets": sample.targets,
        "indices": list(sample.indices),
        "labels": list(sample.labels),
        "label_unit": sample.label_unit,
        "size_wh": list(sample.size_wh),
        "frames": list(sample.frames),
        "keyframe": sample.keyframe,
        "boxes": [[_json_number(side) for side in box] for box in sample.boxes.tolist()],
        "thinking": sample.thinking,
    }


def sample_from_json(value: Any, name: str) -> CotSample:
    """Converts the JSON object of a line to a sample; `name` stands for it in errors. Raises DatasetFileError."""
    return _sample(JsonNode(value, name))


def frame_names(sample_id: str, count: int) -> tuple[str, ...]:
    """Returns the paths of a sample's frames below the set's folder.

    Raises DatasetFileError for an id that would lead out of the folder.
    """
    if not is_safe_name(sample_id, nested=True):
        raise DatasetFileError("unsafe_path", f"id {sample_id!r}: could lead out of the set's folder")
    return tuple(f"{FRAMES}/{sample_id}/{position:05d}.jpg" for position in range(count))


def write_frames(root: Path, names: Sequence[str], images: Sequence[np.ndarray]) -> None:
    """Writes the frames of a sample, uint8 RGB (H, W, 3), atomically; an existing folder is replaced.

    names: from `frame_names`. Raises OSError if a file cannot be written.
    """
    from PIL import Image

    folder = (root / names[0]).parent
    delete(folder)
    with new_folder(folder) as partial:
        for name, image in zip(names, images, strict=True):
            # Chroma subsampling blurs small colored objects.
            Image.fromarray(image).save(partial / Path(name).name, quality=JPEG_QUALITY, subsampling=0)


def _json_number(side: float) -> float | int:
    return int(side) if side == int(side) else side


def _sample(row: JsonNode) -> CotSample:
    indices = tuple(entry.integer() for entry in row["indices"].items())
    if not indices or any(a >= b for a, b in pairwise(indices)):
        raise row["indices"].error("invalid_field", "must be ascending frame indices, at least one")
    keyframe = None if row["keyframe"].value is None else row["keyframe"].integer()
    if keyframe is not None and keyframe not in indices:
        raise row["keyframe"].error("invalid_field", f"must be one of the indices, not {keyframe}")
    size_wh = _size(row["size_wh"])
    boxes = _boxes(row["boxes"], size_wh)
    targets = _choice(row["targets"], Targets)
    if (targets == "none") != (keyframe is None) or (keyframe is None) != (len(boxes) == 0):
        raise row.error("invalid_field", "must have a keyframe and boxes, or neither and targets 'none'")
    return CotSample(
        id=row["id"].name(nested=True),
        video=row["video"].text(),
        query=row["query"].text(),
        category=row["category"].string(),
        type=_choice(row["type"], Type),
        targets=targets,
        indices=indices,
        labels=_labels(row["labels"], len(indices)),
        label_unit=_choice(_field(row, "label_unit"), LabelUnit),
        size_wh=size_wh,
        frames=_frames(row["frames"], len(indices)),
        keyframe=keyframe,
        boxes=boxes,
        thinking=row["thinking"].string(),
    )


def _field(node: JsonNode, name: str) -> JsonNode:
    """Returns a field by its current name or by that of earlier versions."""
    old = _OLD_FIELDS[name]
    return node[old] if name not in node and old in node else node[name]


def _view(node: JsonNode) -> View:
    num_frames = node["num_frames"].integer()
    if not num_frames:
        raise node["num_frames"].error("invalid_field", "must be >= 1")
    coordinates = RENAMED_COORDINATES.get(str(node["coordinates"].value)) or _choice(node["coordinates"], Coordinates)
    return View(num_frames, _size(node["frame_wh"]), coordinates)


def _size(node: JsonNode) -> tuple[int, int]:
    sides = [entry.integer() for entry in node.items()]
    if len(sides) != 2 or not all(1 <= side <= MAX_SIDE for side in sides):
        raise node.error("invalid_field", f"must be [width, height], each from 1 to {MAX_SIDE}")
    return sides[0], sides[1]


def _choice(node: JsonNode, options: Any) -> Any:
    """Returns a value that is one of a Literal's."""
    if node.value not in get_args(options):
        raise node.error("invalid_field", f"must be one of {', '.join(get_args(options))}")
    return node.value


def _labels(node: JsonNode, count: int) -> tuple[str, ...]:
    labels = tuple(entry.text() for entry in node.items())
    if not all(re.fullmatch(r"\d{1,12}(\.\d{1,12})?", label, re.ASCII) for label in labels):
        raise node.error("invalid_field", "must be decimal numbers as text")
    if len(labels) != count or len({float(label) for label in labels}) < count:
        raise node.error("unexpected_count", f"must be {count} different numbers, one per index")
    return labels


def _frames(node: JsonNode, count: int) -> tuple[str, ...]:
    names = tuple(entry.name(nested=True) for entry in node.items())
    if len(names) != count:
        raise node.error("unexpected_count", f"must be {count} files, one per index")
    return names


def _boxes(node: JsonNode, size_wh: tuple[int, int]) -> np.ndarray:
    boxes = []
    for entry in node.items():
        sides = [side.value for side in entry.items()]
        # Exactly int or float: bool is a subclass of int.
        if len(sides) != 4 or any(type(side) not in (int, float) for side in sides):
            raise entry.error("invalid_field", "must be a box of four numbers, [x1, y1, x2, y2]")
        x1, y1, x2, y2 = sides
        if not (0 <= x1 < x2 <= size_wh[0] and 0 <= y1 < y2 <= size_wh[1]):
            raise entry.error(
                "invalid_field", f"must be a box with an area > 0 inside the frame of {size_wh[0]}x{size_wh[1]}"
            )
        boxes.append(sides)
    return np.array(boxes, np.float32).reshape(-1, 4)
