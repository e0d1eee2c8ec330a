"""Ref-DAVIS17 (Khoreva et al., ACCV 2018): four expressions per object of DAVIS 2017, 60 + 30 videos.

Two layouts are read. As converted by ReferFormer, one video of meta_expressions/valid/meta_expressions.json:

    "dogs-jump": {"frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "a brown dog on the left", "obj_id": "1"}, "1": ..., "2": ..., "3": ..., "4": {"obj_id": "2"}}}

with {train,valid}/{JPEGImages,Annotations,meta.json}. As published, which this module converts: DAVIS/ of the
unsupervised challenge at 480p, and one line per object in the four files of davis_text_annotations/:

    dogs-jump 1 "a brown dog on the left"

Each object has four expressions: of annotators 1 and 2, each for the first frame and for the full video. Expression
number 4 * rank + a belongs to run `a`, in this order. The rank sorts object numbers *as text*: 10 comes before 2. Three
video names are misspelled, and the files of annotator 2 are Latin-1. The ground truth is label maps, in which 255 is
neither object nor background.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data.benchmarks.base import Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import LabelFiles, jpeg_names
from thinkseg.data.benchmarks.listing import read_listing
from thinkseg.data.benchmarks.refytvos import ObjectIds, expression_reader
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, is_safe_name, read_bytes, read_json
from thinkseg.data.readers.mask_images import label_map

RUNS = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
"""File and encoding of each run."""

MISSPELLED = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}

LISTS = {"train": "train.txt", "valid": "val.txt"}
"""List of videos of DAVIS per split."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split, "valid" or "train", of either layout; see `thinkseg.data.open_benchmark`.

    An expression's `annotation_run` is "anno_0" to "anno_3".
    """
    original = root / "davis_text_annotations"
    if os.path.exists(original) and not os.path.exists(root / "meta_expressions"):
        davis = root / "DAVIS"
        files = LabelFiles(davis / "JPEGImages" / "480p", davis / "Annotations_unsupervised" / "480p")
        listing, objects = _convert(original, davis, split, issues), None
    else:
        files = LabelFiles(root / split / "JPEGImages", root / split / "Annotations")
        listing = read_json(root / "meta_expressions" / split / "meta_expressions.json")
        objects = ObjectIds(read_json(root / split / "meta.json"))
    read = partial(_expression, objects=objects)
    videos, expressions = read_listing(listing["videos"].values(), read, issues)
    return Benchmark("refdavis", split, root, videos, expressions, files, issues)


def label_maps(benchmark: Benchmark, video_id: str, size_wh: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields the label maps of a video, uint8 (H, W): 0 is background, 255 neither background nor object.

    The protocol that scores all objects of a video together needs them. Raises DatasetFileError if one is missing.
    """
    assert isinstance(benchmark.files, LabelFiles)
    return (label_map(path, size_wh) for path in benchmark.files.map_paths(benchmark.videos[video_id]))


def _expression(video: Video, entry: JsonNode, objects: ObjectIds | None) -> Expression:
    number = entry.key_name()
    if not re.fullmatch("[0-9]{1,6}", number):
        raise entry.error("invalid_field", "must have a number as id, which identifies the annotator's run")
    expression = expression_reader(objects, has_targets=True)(video, entry)
    return replace(expression, annotation_run=f"anno_{int(number) % len(RUNS)}")


def _convert(texts: Path, davis: Path, split: str, issues: DatasetIssues) -> JsonNode:
    """Returns the value that a converted tree has in meta_expressions.json."""
    runs = [_read_run(texts / name, encoding) for name, encoding in RUNS]
    names = read_bytes(davis / "ImageSets" / "2017" / LISTS[split]).decode("utf-8", "replace").split()
    videos: dict[str, Any] = {}
    for name in names:
        with issues.skipping():
            if not is_safe_name(name):
                raise DatasetFileError(
                    "unsafe_path",
                    f"{davis}: {LISTS[split]} names {name!r}, which could lead out of the data set's folder",
                )
            frames = jpeg_names(davis / "JPEGImages" / "480p" / name)
            videos[name] = {"frames": list(frames), "expressions": _numbered(name, runs, issues)}
    return JsonNode({"videos": videos}, str(texts))


def _numbered(
    video: str, runs: list[dict[str, list[dict[str, str]]]], issues: DatasetIssues
) -> dict[str, dict[str, str]]:
    """Returns the expressions of a video by number, up to the shortest run."""
    ranked_runs = [sorted(run.get(video, []), key=lambda row: row["obj_id"]) for run in runs]
    if len({tuple(row["obj_id"] for row in rows) for rows in ranked_runs}) > 1:
        issues.note(DatasetFileError("unknown_id", f"video {video}: the four runs do not describe the same objects"))
    rows = [row for ranked in zip(*ranked_runs, strict=False) for row in ranked]
    return {str(number): row for number, row in enumerate(rows)}


def _read_run(path: Path, encoding: str) -> dict[str, list[dict[str, str]]]:
    """Reads the file of a run: rows by video, each {"exp": ..., "obj_id": ...}."""
    try:
        lines = read_bytes(path).decode(encoding).splitlines()
    except UnicodeDecodeError as error:
        raise DatasetFileError(
            "invalid_file", f"{path}: not {encoding} ({error.reason} at byte {error.start})"
        ) from None
    videos: dict[str, list[dict[str, str]]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < 3:
            raise DatasetFileError("invalid_field", f'{path}, line {number}: must be: video object "expression"')
        video = MISSPELLED.get(words[0], words[0])
        # The first and the last character are the quotes around the expression.
        videos.setdefault(video, []).append({"exp": " ".join(words[2:])[1:-1], "obj_id": words[1]})
    return videos
