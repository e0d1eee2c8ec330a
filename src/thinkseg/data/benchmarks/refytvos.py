"""Ref-YouTube-VOS (URVOS, ECCV 2020): one target object per expression, in 3,978 videos of YouTube-VOS.

One video of meta_expressions/train/meta_expressions.json, and its entry in train/meta.json:

    "003234408d": {"frames": ["00000", "00005"], "expressions": {"0": {"exp": "a penguin on the left", "obj_id": "1"}}}
    "003234408d": {"objects": {"1": {"category": "penguin", "frames": ["00000", "00005"]}}}

Frames are every fifth of the video, named by their numbers in it. The ground truth of train is a label map per frame,
train/Annotations/<video>/<frame>.png; the id of an object is its pixel value. Only train has obj_id: the server hides
the ground truth of the other splits. The list of valid also contains the videos of test, which are skipped: 202 remain.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from thinkseg.data.benchmarks.base import REFERRING, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import JpegFolders, LabelFiles
from thinkseg.data.benchmarks.listing import prediction_folder, read_listing
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json

VALID_VIDEOS = 202
"""Number of validation videos that the server scores."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split: "valid", "train" or "test"; see `thinkseg.data.open_benchmark`."""
    lists = root / "meta_expressions"
    entries = list(read_json(lists / split / "meta_expressions.json")["videos"].values())
    if split == "valid":
        others = read_json(lists / "test" / "meta_expressions.json")["videos"]
        entries = [entry for entry in entries if str(entry.key) not in others]
        if len(entries) != VALID_VIDEOS:
            what = f"{len(entries)} videos are in valid but not in test; the server expects {VALID_VIDEOS}"
            issues.note(DatasetFileError("unexpected_count", f"{lists / split / 'meta_expressions.json'}: {what}"))
    frames = root / split / "JPEGImages"
    has_targets = split == "train"
    objects = ObjectIds(read_json(root / split / "meta.json")) if has_targets else None
    files = LabelFiles(frames, root / split / "Annotations") if has_targets else JpegFolders(frames)
    videos, expressions = read_listing(entries, expression_reader(objects, has_targets), issues)
    return Benchmark("refytvos", split, root, videos, expressions, files, issues)


MAX_LABEL = 254
"""Label maps have 8 bits; objects are numbered from 1, and 255 means "not annotated"."""


class ObjectIds:
    """The objects of each video, from a meta.json."""

    def __init__(self, meta: JsonNode) -> None:
        self._videos = meta["videos"]

    def check(self, video: Video, obj: JsonNode) -> None:
        """Raises DatasetFileError for an unknown object or video."""
        if video.id not in self._videos or obj.id_text() not in self._videos[video.id]["objects"]:
            raise obj.error("unknown_id", f"names object {obj.id_text()}, which {self._videos.where} does not list")


def expression_reader(objects: ObjectIds | None, has_targets: bool) -> Callable[[Video, JsonNode], Expression]:
    """Returns a function that reads an expression.

    has_targets: whether expressions state their target. objects: the known ids, to check targets against.
    """
    return partial(_read, objects=objects, has_targets=has_targets)


def label_of(obj: JsonNode) -> str:
    """Returns the id of an object, checked to be a valid label."""
    name = obj.id_text()
    if not re.fullmatch("[0-9]{1,3}", name) or not 1 <= int(name) <= MAX_LABEL:
        raise obj.error("invalid_field", f"must be a number from 1 to {MAX_LABEL}, not {reprlib.repr(name)}")
    return str(int(name))


def _read(video: Video, entry: JsonNode, objects: ObjectIds | None, has_targets: bool) -> Expression:
    if objects is not None:
        objects.check(video, entry["obj_id"])
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=REFERRING,
        objects=(label_of(entry["obj_id"]),) if has_targets else None,
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
