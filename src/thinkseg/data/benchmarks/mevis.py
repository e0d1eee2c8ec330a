"""MeViS (arXiv 2308.08544, and version 2, arXiv 2512.10945): motion expressions for 2,006 videos.

One video of valid_u/meta_expressions.json, and its annotation 7 in valid_u/mask_dict.json:

    "0ab4afe7fb46": {"vid_id": 3, "frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "birds that fly away", "obj_id": [0, 2], "anno_id": [7, 9]}}}
    "7": [{"size": [1080, 1920], "counts": "..."}, null]

Several annotations are one target: their union. Empty lists mean no target, which occurs in version 2. The expressions
of `valid` and `test` have only "exp", and no mask_dict.json: the server hides their ground truth.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from thinkseg.data.benchmarks.base import NO_TARGET, REFERRING, Benchmark, Expression, Files, Video
from thinkseg.data.benchmarks.layouts import JpegFolders, RleFiles
from thinkseg.data.benchmarks.listing import first_existing, prediction_folder, read_listing, unique_ids
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_dict import MaskFile

V2_LISTS = ("meta_expressions_v2.json", "meta_expressions_v2_release.json")
"""Files of expressions of version 2; the second is that of `valid`, without targets."""

WITH_TRUTH = ("train", "valid_u")


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split of version 1; see `thinkseg.data.open_benchmark`."""
    return load_lists("mevis", root, split, root / split / "meta_expressions.json", issues)


def load_v2(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split of version 2, which has other expressions for the same videos and masks."""
    paths = [root / split / name for name in V2_LISTS]
    return load_lists("mevis-v2", root, split, first_existing(*paths), issues)


def load_lists(name: str, root: Path, split: str, path: Path, issues: DatasetIssues) -> Benchmark:
    """Opens a split of a benchmark with this layout. path: of its list of expressions."""
    frames, masks = root / split / "JPEGImages", root / split / "mask_dict.json"
    required, has_masks = split in WITH_TRUTH, os.path.exists(masks)
    read = partial(_expression, required=required, has_masks=has_masks)
    videos, expressions = read_listing(read_json(path)["videos"].values(), read, issues)
    files: Files = RleFiles(frames, MaskFile(masks, opens="[")) if required or has_masks else JpegFolders(frames)
    return Benchmark(name, split, root, videos, expressions, files, issues)


def _expression(video: Video, entry: JsonNode, required: bool, has_masks: bool) -> Expression:
    """required: whether targets must be stated. has_masks: without masks, an empty list of targets means unknown."""
    stated = required or (has_masks and "anno_id" in entry)
    objects = unique_ids(entry["anno_id"]) if stated else None
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=NO_TARGET if objects == () else REFERRING,
        objects=objects,
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
