"""Your own data: videos, and a file queries.jsonl with one query per line.

    {"video": "clips/garden.mp4", "query": "the dog that barks first", "id": "barks", "category": "reasoning",
     "masks": ["masks/garden/dog"]}

video: a video file or a folder of images, as a path below the folder of queries.jsonl.
id: unique among the queries of a video (default: the line number). category: optional, for scores per category.
masks: the ground truth, one entry per object; [] for no target; if absent, the ground truth is unknown.

An entry of masks is a list with a COCO RLE or null per frame, or a folder of mask images, in which the object is not
black. A mask image has the name of its frame (00012.png for 00012.jpg); for a video file the frame's number, with five
digits from 00000.png on, as `thinkseg segment` writes it. Frames without a mask image are not scored.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from thinkseg.data.benchmarks.base import NO_TARGET, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import MaskFolders
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, parse_json, read_lines, unreadable
from thinkseg.data.readers.mask_tracks import LazyTrack, RleTrack
from thinkseg.storage.fingerprint import SMALL_BYTES, file_fingerprint, text_fingerprint
from thinkseg.types import Frames

QUERIES = "queries.jsonl"


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Reads all queries, the split "all"; see `thinkseg.data.open_benchmark`. Opens each video to count its frames."""
    files = _Files(root)
    videos: dict[str, Video] = {}
    expressions: dict[str, Expression] = {}
    for number, row in read_lines(root / QUERIES, issues.skipping):
        with issues.skipping():
            name = row["video"].name(nested=True)
            if name not in videos:
                videos[name] = files.open(name)
            expression = _expression(number, row, videos[name], files)
            if expression.key in expressions:
                raise row.error(
                    "invalid_field", f"repeats the id {expression.id!r} of video {name}; ids must be unique"
                )
            expressions[expression.key] = expression
    # Queries about a video follow each other, so that its frames are decoded once.
    order = {name: position for position, name in enumerate(videos)}
    listed = sorted(expressions.values(), key=lambda expression: order[expression.video])
    return Benchmark("folder", split, root, videos, tuple(listed), files, issues)


class _Files(MaskFolders):
    """The opened videos, and masks in folders of mask images or in lines of queries.jsonl."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, root, one_value=True)
        self._readers: dict[str, Frames] = {}
        self._lines: dict[str, tuple[int, int, str]] = {}

    def open(self, name: str) -> Video:
        """Opens a video and keeps its reader. Raises VideoError."""
        from thinkseg.ops.frame_folder import frame_names
        from thinkseg.ops.video import open_video

        reader = self._readers[name] = open_video(self.folder / name)
        return Video(name, frame_names(reader), reader.size_wh)

    def add_line(self, number: int, position: int, masks: JsonNode) -> str:
        """Returns an id for the object whose RLEs are entry `position` of the masks of line `number`."""
        obj = f"{QUERIES}:{number}:{position}"
        self._lines[obj] = number, position, _fingerprint(masks)
        return obj

    def frame_fingerprint(self, video: Video) -> str:
        is_file = not self.frame_paths(video)
        return file_fingerprint(self.folder / video.id, SMALL_BYTES) if is_file else super().frame_fingerprint(video)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return self._lines[obj][2] if obj in self._lines else super().mask_fingerprint(video, obj)

    def frame_paths(self, video: Video) -> Sequence[Path]:
        from thinkseg.ops.video import FrameFolder

        reader = self._readers[video.id]
        return reader.paths if isinstance(reader, FrameFolder) else ()

    def frames(self, video: Video) -> Frames:
        # A copy has the frame count, and a decoder of its own.
        return copy.copy(self._readers[video.id])

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        if obj not in self._lines:
            return super().track(video, obj, size_wh)
        load = partial(_masks_of_line, self.folder / QUERIES, *self._lines[obj])
        return RleTrack(load, len(video.frames), size_wh)


def _expression(number: int, row: JsonNode, video: Video, files: _Files) -> Expression:
    name = row["id"].name() if "id" in row else str(number)
    objects, scored = _truth(number, row, video, files)
    category = NO_TARGET if objects == () else ""
    return Expression(
        video=video.id,
        id=name,
        query=row["query"].text(),
        category=row["category"].text() if "category" in row else category,
        objects=objects,
        scored=scored,
        folders=(f"{video.id}/{name}",),
    )


def _truth(number: int, row: JsonNode, video: Video, files: _Files) -> tuple[tuple[str, ...] | None, Sequence[int]]:
    """Returns the objects and the scored frames of a row; None and all frames for an unknown ground truth."""
    all_frames = range(len(video.frames))
    if "masks" not in row:
        return None, all_frames
    objects: list[str] = []
    annotated: set[int] = set()
    for position, entry in enumerate(row["masks"].items()):
        if isinstance(entry.value, list):
            if len(entry.value) != len(video.frames):
                raise entry.error("missing_mask", f"has {len(entry.value)} masks for {len(video.frames)} frames")
            objects.append(files.add_line(number, position, entry))
            annotated.update(all_frames)
        else:
            objects.append(entry.name(nested=True))
            annotated.update(files.annotated(video, objects[-1]))
    return tuple(objects), tuple(sorted(annotated)) if objects else all_frames


def _fingerprint(masks: JsonNode) -> str:
    return text_fingerprint(json.dumps(masks.value))


def _masks_of_line(path: Path, number: int, position: int, fingerprint: str) -> Sequence[JsonNode]:
    """Reads the RLEs that are entry `position` of the masks of line `number`, which must have this fingerprint."""
    try:
        with path.open("rb") as file:
            line = next(islice(file, number - 1, None), b"")
    except OSError as error:
        raise unreadable(path, error) from None
    masks = parse_json(line, f"{path}, line {number}")["masks"].items()
    if position >= len(masks) or _fingerprint(masks[position]) != fingerprint:
        raise DatasetFileError(
            "missing_mask", f"{path}, line {number}: has changed since the data set was opened; start again"
        )
    return masks[position].items()
