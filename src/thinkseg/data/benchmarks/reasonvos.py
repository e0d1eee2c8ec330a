"""ReasonVOS (VideoLISA, arXiv 2409.19603): one target object per reasoning query, in 91 videos of four data sets.

One video of meta_expressions.json, whose expressions are a list:

    "bike-race": {"source": "BURST", "frames": ["00000", "00001"], "expressions": [
        {"exp_id": 0, "obj_id": "3", "exp_text": "Which one falls behind?", "is_sent": 1}]}

The ground truth is a mask image per annotated frame in Annotations/<source>_<video>_<obj_id>/, in which the object is
not black; the source is in upper or lower case. Other frames are not scored. The video is all frames in
JPEGImages/<video>/.

Published copies differ, and both are read: "expressions" may be an object with ids as fields instead of a list, and
is_sent may be a field of the video. An exp_id can occur twice in a video: then the earlier expression gets the number
after the largest, as in published conversions. The official prediction folders are named by exp_id, so that two such
expressions about one object share a folder, and the later overwrites the earlier; here the folder of the earlier has
its new number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import MaskFolders, jpeg_names
from thinkseg.data.benchmarks.listing import read_listing
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, list_folder, read_json

SENTENCE, PHRASE = "sentence", "phrase"
"""Categories: is_sent or not."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens the only split, "test"; see `thinkseg.data.open_benchmark`."""
    files = MaskFolders(root / "JPEGImages", root / "Annotations")
    masks = frozenset(list_folder(files.annotations))
    videos, expressions = read_listing(
        read_json(root / "meta_expressions.json")["videos"].values(),
        partial(_expression, files=files, masks=masks),
        issues,
        read_video=partial(_video, folder=root / "JPEGImages", issues=issues),
        expressions_of=partial(_numbered, issues=issues),
    )
    return Benchmark("reasonvos", split, root, videos, _unique_folders(expressions, issues), files, issues)


def _video(node: JsonNode, folder: Path, issues: DatasetIssues) -> Video:
    """Returns a video with all frames in its folder. Notes listed frames that are missing."""
    name = node.key_name(nested=True)
    frames = jpeg_names(folder / name)
    if missing := sorted({entry.id_text() for entry in node["frames"].items()} - set(frames)):
        issues.note(
            DatasetFileError(
                "missing_frame", f"video {name}: {len(missing)} listed frames are missing, first {missing[0]}"
            )
        )
    return Video(name, frames)


def _numbered(node: JsonNode, issues: DatasetIssues) -> Iterable[JsonNode]:
    """Returns the expressions of a video's entry, each with a unique id as key."""
    rows = node["expressions"]
    if isinstance(rows.value, dict):
        return rows.values()
    numbered: dict[str, JsonNode] = {}
    for row in rows.items():
        with issues.skipping():
            name = row["exp_id"].name()
            earlier = numbered.pop(name, None)
            numbered[name] = JsonNode(row.value, name, rows)
            if earlier is not None:
                largest = max((int(number) for number in numbered if re.fullmatch("[0-9]{1,18}", number)), default=-1)
                numbered[str(largest + 1)] = JsonNode(earlier.value, str(largest + 1), rows)
    return numbered.values()


def _expression(video: Video, entry: JsonNode, files: MaskFolders, masks: frozenset[str]) -> Expression:
    parent = _video_of(entry)
    source, obj, number = parent["source"].name(), entry["obj_id"].name(), entry.key_name()
    stated = entry["exp_id"].name() if "exp_id" in entry else number
    folder = _mask_folder(source, f"_{video.id}_{obj}", files, masks)
    is_sentence = (entry if "is_sent" in entry else parent)["is_sent"].value
    return Expression(
        video=video.id,
        id=number,
        query=entry["exp_text"].text(),
        category=SENTENCE if is_sentence else PHRASE,
        objects=(folder,),
        scored=files.annotated(video, folder),
        folders=(f"{source}_{video.id}_{obj}/{stated}", f"{video.id}/{number}", f"{video.id}/{obj}"),
    )


def _unique_folders(expressions: Sequence[Expression], issues: DatasetIssues) -> tuple[Expression, ...]:
    """Returns the expressions with unique first folders; a shared official folder becomes the second."""
    shared = Counter(one.folders[0] for one in expressions)
    found = []
    for one in expressions:
        parent, _, number = one.folders[0].rpartition("/")
        if shared[one.folders[0]] > 1 and number != one.id:
            issues.note(
                DatasetFileError("invalid_field", f"{one.key}: another expression uses folder {one.folders[0]}")
            )
            one = replace(one, folders=(f"{parent}/{one.id}", *one.folders))
        found.append(one)
    return tuple(found)


def _mask_folder(source: str, rest: str, files: MaskFolders, masks: frozenset[str]) -> str:
    """Returns the folder name of an object in `masks`, for any case of its source."""
    if source + rest in masks:
        return source + rest
    matches = [name for name in masks if name.endswith(rest) and name.removesuffix(rest).lower() == source.lower()]
    if len(matches) != 1:
        raise DatasetFileError(
            "missing_mask", f"{files.annotations / (source + rest)}: no such folder; is the data set complete?"
        )
    return matches[0]


def _video_of(entry: JsonNode) -> JsonNode:
    """Returns the entry of the video that contains an expression's entry."""
    assert entry.parent is not None
    assert entry.parent.parent is not None
    return entry.parent.parent
