"""The tasks of the processes that decode videos: facts, frames, exported formats, and example clips.

    {"task": "probe", "video": PATH}                        -> frames, size, fps, times
    {"task": "block", "video": PATH, "start": 64, "out": PATH}  writes `BLOCK` frames from a start, see `write_block`
    {"task": "frame", "video": PATH, "index": 7, "small": False, "out": PATH}   writes one frame as JPEG
    {"task": "export", "result": PATH, "video": PATH, "format": "coco", "out": PATH}  writes a file, or a folder as zip
    {"task": "example", "index": 3, "out": PATH}            writes a clip of the shapes world -> name, queries

Files are untrusted: sizes are checked before anything is decoded, and the process can be stopped.
"""

from __future__ import annotations

import os
import resource
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.app.limits import Limits
from thinkseg.app.processes import Json, Report
from thinkseg.errors import VideoError
from thinkseg.ops.pictures import MAX_PIXELS_VARIABLE

if TYPE_CHECKING:
    import numpy as np

    from thinkseg.types import Frames

BLOCK = 32
"""Frames, and masks, that are sent together."""

PREVIEW_SIDE, THUMB_SIDE = 960, 240
"""Longest side in pixels of the frames of a block, and of a small frame."""

PREVIEW_QUALITY, FRAME_QUALITY = 82, 92
"""Of JPEG: of these, and of a frame in full size."""

MEMORY_BYTES = 6 << 30
"""Address space of a process: a file that decodes to more fails."""

OPEN_VIDEOS = 2
"""Videos that stay open, with the index of their frames."""


class Media:
    """Does these tasks. limits: of videos."""

    def __init__(self, limits: Limits) -> None:
        os.environ[MAX_PIXELS_VARIABLE] = str(limits.max_pixels)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        self._limits = limits
        self._opened: dict[str, Frames] = {}
        self._tasks: dict[str, Callable[[Json], Json]] = {
            "probe": self._probe,
            "block": self._block,
            "frame": self._frame,
            "export": self._export,
            "example": self._example,
        }

    def __call__(self, task: Json, report: Report) -> Json:
        """Does a task. Raises VideoError for an invalid video, and what exports raise."""
        return self._tasks[task["task"]](task)

    def _probe(self, task: Json) -> Json:
        check_length(task["video"], self._limits)
        video = self._video(task["video"])
        check_frames(video, self._limits)
        times = [video.time_of(index) for index in range(len(video))]
        return {"frames": len(video), "size": list(video.size_wh), "fps": video.fps, "times": times}

    def _block(self, task: Json) -> Json:
        write_block(self._video(task["video"]), task["start"], Path(task["out"]))
        return {}

    def _frame(self, task: Json) -> Json:
        image = self._video(task["video"])[task["index"]]
        data = jpeg(smaller(image, THUMB_SIDE), PREVIEW_QUALITY) if task["small"] else jpeg(image, FRAME_QUALITY)
        Path(task["out"]).write_bytes(data)
        return {}

    def _export(self, task: Json) -> Json:
        return export(Path(task["result"]), Path(task["video"]), task["format"], Path(task["out"]))

    def _example(self, task: Json) -> Json:
        return write_example(task["index"], Path(task["out"]))

    def _video(self, path: str) -> Frames:
        """An open video; the one used least recently is closed for a new one."""
        from thinkseg.ops.video import open_video

        video = self._opened.pop(path, None) or open_video(path)
        for oldest in list(self._opened)[: len(self._opened) + 1 - OPEN_VIDEOS]:
            del self._opened[oldest]
        self._opened[path] = video
        return video


def check_length(path: str, limits: Limits) -> None:
    """Raises VideoError if the header of a file states a longer video than the limits, or if it is no video."""
    from thinkseg.ops.videofile import open_container

    with open_container(Path(path)) as container:
        _check("seconds", (container.duration or 0) / 1e6, limits.max_seconds)
        _check("frames", max((stream.frames for stream in container.streams.video), default=0), limits.max_frames)


def check_frames(video: Frames, limits: Limits) -> None:
    """Raises VideoError if a video is longer than the limits."""
    _check("frames", len(video), limits.max_frames)
    _check("seconds", video.time_of(len(video) - 1) or 0, limits.max_seconds)


def _check(what: str, found: float, limit: float) -> None:
    if found > limit:
        raise VideoError(f"the video has {found:,.0f} {what}; give one of at most {limit:,.0f}")


def write_block(video: Frames, start: int, out: Path) -> None:
    """Writes up to `BLOCK` frames from `start`: for each, the number of its bytes (uint32, little-endian), and JPEG."""
    with out.open("wb") as file:
        for image in video.read(range(start, min(start + BLOCK, len(video)))):
            data = jpeg(smaller(image, PREVIEW_SIDE), PREVIEW_QUALITY)
            file.write(struct.pack("<I", len(data)) + data)


def smaller(image: np.ndarray, side: int) -> np.ndarray:
    """Returns a frame, uint8 RGB (H, W, 3), whose longest side has at most `side` pixels."""
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """Returns a frame, uint8 RGB (H, W, 3), as JPEG."""
    import cv2

    data: Any = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return bytes(data)


def export(folder: Path, video: Path, name: str, out: Path) -> Json:
    """Writes a result in a format of `thinkseg.report.formats`, or "result" for its own files, as one file.

    Returns the suffix that the file should have. Raises VideoError if frames cannot be decoded or encoded.
    """
    from thinkseg.report.formats import FORMATS
    from thinkseg.report.formats.writing import write_formats
    from thinkseg.report.stored_result import read_result

    if name == "result":
        return {"suffix": _zipped(folder, out)}
    made = out.with_name(f"{out.name}.files")
    made.mkdir()
    try:
        left_out = write_formats(read_result(folder, video), made, [name])
        for error in left_out.values():
            raise error
        written = made / FORMATS[name].file
        if written.is_dir():
            return {"suffix": _zipped(written, out)}
        written.rename(out)
        return {"suffix": written.suffix}
    finally:
        shutil.rmtree(made)


def _zipped(folder: Path, out: Path) -> str:
    made = shutil.make_archive(str(out), "zip", folder.parent, folder.name)
    Path(made).rename(out)
    return ".zip"


def write_example(index: int, out: Path) -> Json:
    """Writes a clip of the shapes world as a video file. Returns its name and questions about it."""
    from thinkseg.data.shapes.episodes import SOURCE_WH, episode
    from thinkseg.data.shapes.render import ShapesVideo
    from thinkseg.data.shapes.simulation import FPS
    from thinkseg.ops.video import write_video

    one = episode("val", index, num_questions=3)
    video = ShapesVideo(one.clip, SOURCE_WH, one.id)
    made = out.with_suffix(".mp4")
    write_video(made, video.read(range(one.clip.num_frames)), FPS, comment=video.comment)
    made.rename(out)
    return {"name": f"Example {index + 1}", "queries": list(one.texts)}
