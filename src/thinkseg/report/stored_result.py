"""Reads the folder that `result_files` wrote: a `Segmentation` whose video is opened when a frame is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data.readers.frame_rates import FASTEST, SLOWEST
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_tracks import stored_masklets
from thinkseg.data.readers.video_window import VideoWindow
from thinkseg.errors import SettingsError
from thinkseg.ops.frame_folder import checked_index
from thinkseg.ops.pictures import check_pixels
from thinkseg.report.result_files import ANSWER, MASKS
from thinkseg.rle import checked, decode
from thinkseg.storage.result_folder import finish_interrupted
from thinkseg.types import (
    Answer,
    Frames,
    ObjectPrompt,
    Outcome,
    Part,
    Segmentation,
    VideoSample,
    part_of,
)

MAX_FRAMES = 10_000_000
"""Longest video of a result: four days. A damaged number could otherwise fill the memory."""


def read_result(folder: Path, video: Path | None = None) -> Segmentation:
    """Reads a result. Its dialogue has the replies alone.

    video: the file or folder of its frames (default: where it was when the result was written).
    Raises SettingsError if the folder has no result or its reply could not be used, DatasetError if a file is damaged.
    """
    finish_interrupted(folder)
    if not (folder / ANSWER).is_file():
        raise SettingsError(f"{folder}: no {ANSWER} there; give a folder that `thinkseg segment` wrote")
    record = read_json(folder / ANSWER)
    if record["failure"].value is not None:
        raise SettingsError(f"{folder}: no masks, the reply could not be used ({record['failure'].text()}); ask again")
    masks, facts = read_json(folder / MASKS), record["video"]
    frames = _StoredVideo(facts, masks, video)
    masklets = stored_masklets(masks, len(frames), frames.size_wh)
    answer = _answer(record, part_of(frames))
    sample = VideoSample(facts["name"].text(), frames, record["query"].string())
    replies, repairs, warnings = (_texts(record, field) for field in ("replies", "repairs", "warnings"))
    outcome = Outcome(answer, None, replies, answer.keyframe, repairs=repairs)
    return Segmentation(sample, outcome, masklets, warnings=warnings, prompts=_prompts(record, frames))


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads the settings of a result, JSON values by name. Raises DatasetError if the file is damaged."""
    return {str(node.key): node.value for node in read_json(folder / ANSWER)["settings"].values()}


class _StoredVideo:
    """What a result knows about its video; frames are read from the source. Satisfies `types.Frames`.

    Reading frames raises SettingsError if the source is missing or is not this video, VideoError as `open_video` does.
    """

    def __init__(self, facts: JsonNode, masks: JsonNode, source: Path | None) -> None:
        self.name = Path(facts["name"].text()).stem
        self.path = source or (Path(facts["path"].text()) if "path" in facts else None)
        self.size_wh = _size(facts["size"])
        self.fps = None if facts["fps"].value is None else facts["fps"].number(SLOWEST, FASTEST)
        self._length = int(facts["frames"].number(1, MAX_FRAMES))
        self._times = [time.number() for time in _per_frame(masks, "times", self._length)]
        self.file_names = tuple(name.name() for name in _per_frame(masks, "files", self._length))
        self.part = _part(facts, self._length)
        self._source: Frames | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> np.ndarray:
        return self._opened()[checked_index(index, len(self))]

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return self._opened().read(indices)

    def time_of(self, index: int) -> float | None:
        index = checked_index(index, len(self))
        if self._times:
            return self._times[index]
        return None if self.fps is None else index / self.fps

    def _opened(self) -> Frames:
        from thinkseg.ops.video import open_video

        if self._source is None:
            # os.path.exists returns False where Path.exists raises: for names that the file system rejects.
            if self.path is None or not os.path.exists(self.path):
                raise SettingsError(f"{self.name}: its frames are needed, and are not at {self.path}; give --video")
            source = open_video(self.path)
            if self.part and (len(source), source.size_wh) == (self.part.num_frames, self.part.size_wh):
                source = VideoWindow(source, self.part.indices, self.size_wh)
            if (len(source), source.size_wh) != (len(self), self.size_wh):
                found, expected = (f"{len(one)} frames of {'x'.join(map(str, one.size_wh))}" for one in (source, self))
                raise SettingsError(f"{self.path}: has {found}, the result {expected}; give its video with --video")
            self._source = source
        return self._source


def _part(facts: JsonNode, num_frames: int) -> Part | None:
    """Which frames of the source the video consists of; None if it is all of it."""
    if "window" not in facts:
        return None
    window = facts["window"]
    start, end, stride, total = (
        int(window[name].number(least, MAX_FRAMES))
        for name, least in (("start", 0), ("end", 1), ("stride", 1), ("source_frames", 1))
    )
    indices = range(start, end, stride)
    if len(indices) != num_frames or end > total:
        raise window.error("invalid_field", f"must have the {num_frames} frames of the result")
    return Part(indices, total, _size(window["source_size"]))


def _answer(record: JsonNode, part: Part) -> Answer:
    keyframe = None if record["keyframe"].value is None else _frame(record["keyframe"], part)
    boxes = [_row(box, 4) for box in record["boxes"].items()]
    thinking = "" if record["thinking"].value is None else record["thinking"].string()
    return Answer(thinking, keyframe, np.array(boxes, np.float32).reshape(-1, 4))


def _prompts(record: JsonNode, video: Frames) -> tuple[ObjectPrompt, ...]:
    """The prompts by hand; none in results of earlier versions."""
    return tuple(_prompt(node, video) for node in record["prompts"].items()) if "prompts" in record else ()


def _prompt(node: JsonNode, video: Frames) -> ObjectPrompt:
    points = [_row(point, 3) for point in node["points"].items()]
    box, mask = node["box"], node["mask"]
    try:
        rle = None if mask.value is None else checked(mask.value, video.size_wh)
    except ValueError as error:
        raise mask.error("invalid_field", str(error)) from None
    return ObjectPrompt(
        frame=_frame(node["frame"], part_of(video)),
        obj=int(node["object"].number(1)) - 1,
        box=None if box.value is None else _row(box, 4),
        points=[point[:2] for point in points],
        labels=[point[2] for point in points],
        mask=None if rle is None else decode(rle),
    )


def _frame(node: JsonNode, part: Part) -> int:
    """The index in the video of a frame whose index in the source is stored."""
    index = node["index"].integer()
    if index not in part.indices:
        raise node.error("invalid_field", f"is not one of the {len(part.indices)} frames")
    return part.indices.index(index)


def _row(node: JsonNode, length: int) -> list[float]:
    row = [value.number() for value in node.items()]
    if len(row) != length:
        raise node.error("invalid_field", f"must have {length} numbers")
    return row


def _texts(record: JsonNode, field: str) -> tuple[str, ...]:
    return tuple(text.string() for text in record[field].items()) if field in record else ()


def _per_frame(masks: JsonNode, field: str, num_frames: int) -> list[JsonNode]:
    """The entries of a list with one per frame; none if the result has no such list."""
    entries = masks[field].items() if field in masks else []
    if entries and len(entries) != num_frames:
        raise masks[field].error("invalid_field", f"must have {num_frames} entries, one per frame, not {len(entries)}")
    return entries


def _size(node: JsonNode) -> tuple[int, int]:
    sides = [side.integer() for side in node.items()]
    if len(sides) != 2 or not all(sides):
        raise node.error("invalid_field", "must be [width, height]")
    check_pixels((sides[0], sides[1]), node.where)
    return sides[0], sides[1]
