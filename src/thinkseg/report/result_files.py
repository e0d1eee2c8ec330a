"""The folder in which a `Segmentation` is saved.

    answer.json     query, thinking, keyframe, boxes, raw replies, their repairs, settings, versions, tokens, wall time
    masks/00000.png the union of all objects per frame: 8 bits, 0 outside and 255 inside, size of the source; named by
                    the index of the frame, or in a folder of frames as the frame's file (00001.png for 00001.jpg)
    masks.json      COCO RLE per object and frame
    overlay.mp4     the video with tinted objects, and boxes on the keyframe (H.264); left out if it cannot be written
    .thinkseg       list of these files; marks a folder that a later result may replace

The folder is written as a whole. An invalid reply has only answer.json. Memory use does not grow with video length.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg import __version__
from thinkseg.chains.parsing import explained
from thinkseg.errors import VideoError
from thinkseg.storage.atomic import write_json
from thinkseg.storage.result_folder import result_folder
from thinkseg.types import Masklets, ProgressCallback, Segmentation

COMMAND = "segment"

FOLDER_FPS = 12.0
"""Frames per second of the overlay of a video without timestamps."""

PACKAGES = ("torch", "transformers", "numpy", "av", "opencv-python-headless")
"""Packages that results may depend on."""


def write_result(
    result: Segmentation,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> VideoError | None:
    """Writes a segmentation to the folder `out`. Raises SettingsError as `result_folder` does.

    settings: JSON values for answer.json. progress: called with (done, total) frames. Returns why the overlay is left
    out, or None.
    """
    with result_folder(Path(out), COMMAND) as folder:
        return write_files(result, folder, settings or {}, progress)


def write_files(
    result: Segmentation, folder: Path, settings: Mapping[str, Any], progress: ProgressCallback | None = None
) -> VideoError | None:
    """Writes the files of a segmentation to an existing folder. Returns why the overlay is left out, or None."""
    from thinkseg.ops.frame_folder import frame_names
    from thinkseg.ops.masks import json_of

    write_json(answer_record(result, settings), folder / "answer.json")
    if result.failure:
        return None
    _write_masks(result.masklets, frame_names(result.sample.video), folder / "masks")
    with (folder / "masks.json").open("w", encoding="utf-8") as file:
        file.writelines(json_of(result.masklets))
    try:
        _write_overlay(result, folder / "overlay.mp4", progress)
    except VideoError as error:
        return error
    return None


def answer_record(result: Segmentation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of answer.json as JSON values."""
    video, answer = result.sample.video, result.answer
    keyframe = answer.keyframe if answer else None
    return {
        "query": result.sample.query,
        "video": {
            "name": result.sample.id,
            "frames": len(video),
            "size": list(video.size_wh),
            "fps": video.fps,
        },
        "failure": result.failure,
        "no_target": answer is not None and keyframe is None,
        "thinking": answer.thinking if answer else None,
        "keyframe": None if keyframe is None else {"index": keyframe, "seconds": video.time_of(keyframe)},
        "boxes": answer.boxes.tolist() if answer else [],
        "replies": list(result.outcome.replies),
        "repairs": list(result.outcome.repairs),
        "settings": dict(settings),
        "versions": versions(),
        "usage": {
            "prompt_tokens": result.outcome.num_prompt_tokens,
            "completion_tokens": result.outcome.num_tokens,
        },
        "seconds": {step: round(seconds, 3) for step, seconds in result.seconds.items()},
    }


def versions() -> dict[str, str]:
    """Returns the versions of ThinkSeg, Python and `PACKAGES`."""
    return {
        "thinkseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def format_result(result: Segmentation) -> str:
    """Returns a short text about a segmentation, for a terminal."""
    answer, video = result.answer, result.sample.video
    if answer is None:
        return f'invalid reply: {explained(str(result.failure))}; see "replies" in answer.json'
    lines = [answer.thinking] if answer.thinking else []
    if repairs := result.outcome.repairs:
        lines.append(f"read after repair: {', '.join(repairs)}")
    if answer.keyframe is None:
        return "\n".join([*lines, "no such object"])
    seconds = video.time_of(answer.keyframe)
    time = "" if seconds is None else f" ({seconds:.2f} s)"
    lines.append(f"keyframe {answer.keyframe}{time}")
    lines += [f"box {','.join(f'{side:.1f}' for side in box)}" for box in answer.boxes]
    return "\n".join(lines)


def _write_masks(masklets: Masklets, names: Sequence[str], folder: Path) -> None:
    """Writes a PNG file per frame."""
    from PIL import Image

    folder.mkdir()
    for frame, name in enumerate(names):
        mask = masklets.union(frame).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / f"{name}.png", compress_level=3)


def _write_overlay(result: Segmentation, path: Path, progress: ProgressCallback | None) -> None:
    from thinkseg.ops.video import write_video

    video = result.sample.video
    times = [time for index in range(len(video)) if (time := video.time_of(index)) is not None]
    write_video(path, _overlays(result, progress), video.fps or FOLDER_FPS, times=times or None)


def _overlays(result: Segmentation, progress: ProgressCallback | None) -> Iterator[np.ndarray]:
    """Yields the frames with their masks, and with the boxes on the keyframe."""
    from thinkseg.ops.draw import overlay

    video, masklets, answer = result.sample.video, result.masklets, result.answer
    for index, frame in enumerate(video.read(range(len(video)))):
        boxes = answer.boxes if answer and index == answer.keyframe else None
        yield overlay(frame, masklets.masks(index), boxes)
        if progress:
            progress(index + 1, len(video))
