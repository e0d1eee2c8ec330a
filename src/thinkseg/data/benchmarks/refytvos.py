"""Ref-YouTube-VOS (URVOS, ECCV 2020): one object named by a sentence, in 3,978 videos of YouTube-VOS.

One video of meta_expressions/train/meta_expressions.json, and its entry in train/meta.json:

    "003234408d": {"frames": ["00000", "00005"], "expressions": {"0": {"exp": "a penguin on the left", "obj_id": "1"}}}
    "003234408d": {"objects": {"1": {"category": "penguin", "frames": ["00000", "00005"]}}}

Frames are every fifth of the video, under their numbers in it. The truth of train is a label map for each,
train/Annotations/<video>/<frame>.png; an object is the pixels of its number. Only train has obj_id: a server keeps the
truth of the others. The list of valid also holds the videos of test, which are left out: 202 remain.
"""

from __future__ import annotations

from pathlib import Path

from thinkseg.data.benchmark import Benchmark
from thinkseg.data.files import JpegFolders, LabelFiles
from thinkseg.data.listing import read_listing
from thinkseg.data.problems import Problems, TreeError
from thinkseg.data.tree import read_json
from thinkseg.data.ytvos import ObjectIds, expression_reader

VALID_VIDEOS = 202
"""Videos of the validation split that the server scores."""


def load(root: Path, split: str, problems: Problems) -> Benchmark:
    """A split: "valid", "train" or "test"; see `thinkseg.data.open_benchmark`."""
    lists = root / "meta_expressions"
    entries = list(read_json(lists / split / "meta_expressions.json")["videos"].values())
    if split == "valid":
        others = read_json(lists / "test" / "meta_expressions.json")["videos"]
        entries = [entry for entry in entries if str(entry.key) not in others]
        if len(entries) != VALID_VIDEOS:
            what = f"{len(entries)} videos are in valid and not in test, where the server expects {VALID_VIDEOS}"
            problems.note(TreeError("count", f"{lists / split / 'meta_expressions.json'}: {what}"))
    pictures = root / split / "JPEGImages"
    told = split == "train"
    objects = ObjectIds(read_json(root / split / "meta.json")) if told else None
    files = LabelFiles(pictures, root / split / "Annotations") if told else JpegFolders(pictures)
    videos, expressions = read_listing(entries, expression_reader(objects, told), problems)
    return Benchmark("refytvos", split, root, videos, expressions, files, problems)
