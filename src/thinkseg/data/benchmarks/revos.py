"""ReVOS (VISA, arXiv 2407.11325): what a sentence refers to or implies, in 1,042 videos of five sources.

One video of meta_expressions_valid_.json, and what its annotation 14 looks like in mask_dict.json:

    "LVOS/clip7": {"vid_id": 0, "height": 480, "width": 854, "frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "the dog that barks first", "obj_id": [2], "anno_id": [14], "type_id": 1}}}
    "14": [{"size": [480, 854], "counts": "..."}, null]

type_id is 0 for referring, 1 for reasoning, 2 for no target. Several annotations are one target: their union. The truth
is what "anno_id" lists, whatever the type. Masks go by the position of a frame in "frames". Frames and masks of all
splits lie together.
"""

from __future__ import annotations

from pathlib import Path

from thinkseg.data.benchmarks.base import NO_TARGET, REASONING, REFERRING, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import RleFiles
from thinkseg.data.benchmarks.listing import identities, prediction_folder, read_listing
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_dict import MaskFile

CATEGORIES = (REFERRING, REASONING, NO_TARGET)
"""By type_id."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """A split: "valid", "train" or "train_sub"; see `thinkseg.data.open_benchmark`."""
    path = root / f"meta_expressions_{split}_.json"
    videos, expressions = read_listing(read_json(path)["videos"].values(), _expression, issues)
    for one in expressions:
        if (one.category == NO_TARGET) != (one.objects == ()):
            what = f"{one.key} is of the kind {one.category} and has {len(one.objects or ())} objects"
            issues.note(DatasetFileError("field", f"{path}: {what}"))
    masks = MaskFile(root / "mask_dict.json", opens="[")
    merged = MaskFile(root / "mask_dict_foreground.json", opens="{")
    files = RleFiles(root / "JPEGImages", masks, merged)
    return Benchmark("revos", split, root, videos, expressions, files, issues)


def _expression(video: Video, entry: JsonNode) -> Expression:
    kind = entry["type_id"].whole()
    if kind >= len(CATEGORIES):
        raise entry["type_id"].flaw("field", f"must be 0, 1 or 2, not {kind}")
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=CATEGORIES[kind],
        objects=identities(entry["anno_id"]),
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
