"""Ref-YouTube-VOS (URVOS, ECCV 2020): one object named by a sentence, in 3,978 videos of YouTube-VOS.

One video of meta_expressions/train/meta_expressions.json, and its entry in train/meta.json:

    "003234408d": {"frames": ["00000", "00005"], "expressions": {"0": {"exp": "a penguin on the left", "obj_id": "1"}}}
    "003234408d": {"objects": {"1": {"category": "penguin", "frames": ["00000", "00005"]}}}

Frames are every fifth of the video, under their numbers in it. The truth of train is a label map for each,
train/Annotations/<video>/<frame>.png; an object is the pixels of its number. Only train has obj_id: a server keeps the
truth of the others. The list of valid also holds the videos of test, which are left out: 202 remain.
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
"""Videos of the validation split that the server scores."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """A split: "valid", "train" or "test"; see `thinkseg.data.open_benchmark`."""
    lists = root / "meta_expressions"
    entries = list(read_json(lists / split / "meta_expressions.json")["videos"].values())
    if split == "valid":
        others = read_json(lists / "test" / "meta_expressions.json")["videos"]
        entries = [entry for entry in entries if str(entry.key) not in others]
        if len(entries) != VALID_VIDEOS:
            what = f"{len(entries)} videos are in valid and not in test, where the server expects {VALID_VIDEOS}"
            issues.note(DatasetFileError("count", f"{lists / split / 'meta_expressions.json'}: {what}"))
    pictures = root / split / "JPEGImages"
    told = split == "train"
    objects = ObjectIds(read_json(root / split / "meta.json")) if told else None
    files = LabelFiles(pictures, root / split / "Annotations") if told else JpegFolders(pictures)
    videos, expressions = read_listing(entries, expression_reader(objects, told), issues)
    return Benchmark("refytvos", split, root, videos, expressions, files, issues)


MOST_LABELS = 254
"""Objects are numbers from 1 on in label maps of 8 bits, in which 255 means "not annotated"."""


class ObjectIds:
    """A meta.json: which objects a video has."""

    def __init__(self, meta: JsonNode) -> None:
        self._videos = meta["videos"]

    def check(self, video: Video, obj: JsonNode) -> None:
        """Raises TreeError if a video has no object of this id, or is not listed."""
        if video.id not in self._videos or obj.identity() not in self._videos[video.id]["objects"]:
            raise obj.flaw("id", f"names object {obj.identity()}, which {self._videos.where} does not list")


def expression_reader(objects: ObjectIds | None, told: bool) -> Callable[[Video, JsonNode], Expression]:
    """A reader of expressions.

    told: whether they name their targets. objects: ids that there are, where that is known.
    """
    return partial(_read, objects=objects, told=told)


def label_of(obj: JsonNode) -> str:
    """An object's id, checked to be a number that label maps can hold."""
    name = obj.identity()
    if not re.fullmatch("[0-9]{1,3}", name) or not 1 <= int(name) <= MOST_LABELS:
        raise obj.flaw("field", f"must be a number from 1 to {MOST_LABELS}, not {reprlib.repr(name)}")
    return str(int(name))


def _read(video: Video, entry: JsonNode, objects: ObjectIds | None, told: bool) -> Expression:
    if objects is not None:
        objects.check(video, entry["obj_id"])
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=REFERRING,
        objects=(label_of(entry["obj_id"]),) if told else None,
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
