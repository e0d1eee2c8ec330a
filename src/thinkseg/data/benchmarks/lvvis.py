"""LV-VIS (arXiv 2304.01715): the objects of 1,196 categories in 4,828 videos, for which category names are the queries.

An expression is one category in one video, with all of its annotated objects as targets, as ReVSeg trains on it. Parts
of val/val_instances.json, in the format of YouTube-VIS 2019:

    "videos": [{"id": 3, "width": 1280, "height": 720, "file_names": ["00003/00000.jpg", "00003/00001.jpg"]}]
    "categories": [{"id": 12, "name": "alarm_clock"}]
    "annotations": [{"id": 7, "video_id": 3, "category_id": 12,
        "segmentations": [{"size": [720, 1280], "counts": "..."}, null]}]

Counts are text, or a list of run lengths. The copy of train in the layout of MeViS that VISA reads is known by its
meta_expressions.json; its expressions are category names, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from reprlib import repr
from typing import Any

from thinkseg.data.benchmarks import mevis
from thinkseg.data.benchmarks.base import REFERRING, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import JpegFolders, one_per_frame
from thinkseg.data.benchmarks.listing import first_existing, frame_names, prediction_folder, read_listing
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_tracks import LazyTrack, RleTrack
from thinkseg.rle import from_runs
from thinkseg.storage.fingerprint import file_fingerprint, text_fingerprint


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split: "val" or "train"; see `thinkseg.data.open_benchmark`."""
    lists = root / split / "meta_expressions.json"
    if os.path.exists(lists):
        benchmark = mevis.load_lists("lvvis", root, split, lists, issues)
        return replace(benchmark, expressions=tuple(map(_spaced, benchmark.expressions)))
    instances = Instances(first_existing(root / split / f"{split}_instances.json", root / f"{split}_instances.json"))
    frames = first_existing(root / split / "JPEGImages", root / "JPEGImages" / split)
    videos, expressions = _read(instances, issues)
    return Benchmark("lvvis", split, root, videos, expressions, InstanceFiles(frames, instances), issues)


def _spaced(expression: Expression) -> Expression:
    return replace(expression, query=_words(expression.query))


def _words(name: str) -> str:
    """Returns the name of a category as words: "alarm_clock" is "alarm clock"."""
    return name.replace("_", " ").strip()


class Instances:
    """A file of instances. It is read once, and its masks stay in memory: about 0.3 GB for train."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def content(self) -> JsonNode:
        return read_json(self.path)

    @cached_property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)

    @cached_property
    def annotations(self) -> Mapping[str, JsonNode]:
        """The annotations by id."""
        return {str(node.value["id"]): node for node in self.content["annotations"].items() if _has_id(node)}


def _has_id(node: JsonNode) -> bool:
    return isinstance(node.value, dict) and "id" in node.value


class InstanceFiles(JpegFolders):
    """Frames as <folder>/<video>/<frame>.jpg, masks in a file of instances."""

    def __init__(self, folder: Path, instances: Instances) -> None:
        super().__init__(folder)
        self.instances = instances

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        num_frames = len(video.frames)
        return RleTrack(partial(_masks_of, self.instances, obj, num_frames), num_frames, size_wh)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return text_fingerprint(obj, self.instances.fingerprint)


def _masks_of(instances: Instances, obj: str, num_frames: int) -> Sequence[JsonNode]:
    """Returns the masks of an annotation, one entry per frame."""
    if obj not in instances.annotations:
        raise DatasetFileError("unknown_id", f"{instances.path}: no annotation {obj}; it has changed; start again")
    return [_compressed(mask) for mask in one_per_frame(instances.annotations[obj]["segmentations"], num_frames)]


def _compressed(mask: JsonNode) -> JsonNode:
    """Returns a mask whose counts are text. Raises DatasetFileError for an invalid list of run lengths."""
    if not isinstance(mask.value, dict) or not isinstance(mask.value.get("counts"), list):
        return mask
    try:
        return JsonNode(from_runs(mask.value.get("size"), mask.value["counts"]), mask.key, mask.parent)
    except ValueError as error:
        raise mask.error("invalid_rle", f"is not a valid RLE ({error})") from None


def _read(instances: Instances, issues: DatasetIssues) -> tuple[dict[str, Video], tuple[Expression, ...]]:
    content = instances.content
    names = {one["id"].id_text(): one["name"].text() for one in content["categories"].items()}
    videos = [_named(node) for node in content["videos"].items()]
    found: dict[str, dict[str, list[JsonNode]]] = {node["id"].id_text(): {} for node in videos}
    for node in content["annotations"].items():
        with issues.skipping():
            video, category = node["video_id"], node["category_id"]
            if video.id_text() not in found or category.id_text() not in names:
                raise node.error(
                    "unknown_id", f"is of video {repr(video.value)} and category {repr(category.value)}; no such"
                )
            found[video.id_text()].setdefault(category.id_text(), []).append(node["id"])

    def categories_of(node: JsonNode) -> Iterable[JsonNode]:
        return (JsonNode(ids, category, node) for category, ids in found[node["id"].id_text()].items())

    read = partial(_expression, names=names)
    return read_listing(videos, read, issues, read_video=_video, expressions_of=categories_of)


def _named(node: JsonNode) -> JsonNode:
    """Returns the entry of a video with the folder of its frames as key."""
    files = node["file_names"].items()
    if not files:
        raise node.error("invalid_field", "must list at least one frame")
    return JsonNode(node.value, _parts(files[0])[0], node.parent)


def _video(node: JsonNode) -> Video:
    files = node["file_names"]
    frames = []
    for file in files.items():
        folder, name = _parts(file)
        if folder != node.key:
            raise file.error("invalid_field", f"is not in the folder {repr(str(node.key))} of the first frame")
        frames.append(name.removesuffix(".jpg"))
    size_wh = node["width"].integer(), node["height"].integer()
    return Video(node.key_name(), frame_names(JsonNode(frames, files.key, files.parent)), size_wh)


def _parts(file: JsonNode) -> tuple[str, str]:
    """Returns the folder and the name of a frame: the last two parts of a path, written on any system."""
    parts = file.text().replace("\\", "/").split("/")[-2:]
    if len(parts) < 2:
        raise file.error("invalid_field", "must be a folder and a frame")
    return parts[0], parts[1]


def _expression(video: Video, entry: JsonNode, names: Mapping[str, str]) -> Expression:
    """entry: the ids of the annotations of a category, with its id as key."""
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=_words(names[str(entry.key)]),
        category=REFERRING,
        objects=tuple(dict.fromkeys(node.id_text() for node in entry.value)),
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
