"""ReVOS (VISA, arXiv 2407.11325): referring and reasoning expressions for 1,042 videos of five sources.

One video of meta_expressions_valid_.json, and its annotation 14 in mask_dict.json:

    "LVOS/clip7": {"vid_id": 0, "height": 480, "width": 854, "frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "the dog that barks first", "obj_id": [2], "anno_id": [14], "type_id": 1}}}
    "14": [{"size": [480, 854], "counts": "..."}, null]

type_id is 0 for referring, 1 for reasoning, 2 for no target. Several annotations are one target: their union. For every
type, "anno_id" is the ground truth. A mask belongs to the frame at its position in "frames". All splits share the
folder of frames and the mask files.
"""

from __future__ import annotations

from pathlib import Path

from thinkseg.data.benchmarks.base import NO_TARGET, REASONING, REFERRING, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import RleFiles
from thinkseg.data.benchmarks.listing import prediction_folder, read_listing, unique_ids
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_dict import MaskFile

CATEGORIES = (REFERRING, REASONING, NO_TARGET)
"""By type_id."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split: "valid", "train" or "train_sub"; see `thinkseg.data.open_benchmark`."""
    path = root / f"meta_expressions_{split}_.json"
    videos, expressions = read_listing(read_json(path)["videos"].values(), _expression, issues)
    for one in expressions:
        if (one.category == NO_TARGET) != (one.objects == ()):
            what = f"{one.key} has category {one.category} but {len(one.objects or ())} objects"
            issues.note(DatasetFileError("invalid_field", f"{path}: {what}"))
    masks = MaskFile(root / "mask_dict.json", opens="[")
    merged = MaskFile(root / "mask_dict_foreground.json", opens="{")
    files = RleFiles(root / "JPEGImages", masks, merged)
    return Benchmark("revos", split, root, videos, expressions, files, issues)


def _expression(video: Video, entry: JsonNode) -> Expression:
    type_id = entry["type_id"].integer()
    if type_id >= len(CATEGORIES):
        raise entry["type_id"].error("invalid_field", f"must be one of 0, 1, 2, not {type_id}")
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=CATEGORIES[type_id],
        objects=unique_ids(entry["anno_id"]),
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
