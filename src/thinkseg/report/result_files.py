"""Results as a folder: a `Segmentation` in, files out.

    answer.json     query, thinking, keyframe, boxes, replies as written, settings, versions, seconds
    masks/00000.png one picture a frame of all objects merged, 8 bits, 0 outside and 255 inside, size of the source
    masks.json      COCO run lengths of each object in each frame
    overlay.mp4     the video with its objects tinted, and boxes on the keyframe (H.264)
    .thinkseg       what is in the folder, which tells a later call that it may be replaced

A folder appears under its name once it is complete, and an earlier result is there until then. A reply that could not
be used has an answer.json alone. Nothing here grows with the length of the video.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg import __version__
from thinkseg.storage.atomic import result_folder, write_json
from thinkseg.types import Masklets, Progress, Segmentation

FOLDER_FPS = 12.0
"""Frames a second of an overlay whose frames carry no times."""

PACKAGES = ("torch", "transformers", "numpy", "av", "opencv-python-headless")
"""Packages whose versions a result may depend on."""


def write_result(
    result: Segmentation, out: Path, settings: Mapping[str, Any], progress: Progress | None = None
) -> None:
    """Writes a segmentation as the folder `out`. Raises SettingsError where `result_folder` does.

    settings: plain JSON values to be kept in answer.json. progress: called with (done, total) frames.
    """
    with result_folder(out) as folder:
        write_files(result, folder, settings, progress)


def write_files(
    result: Segmentation, folder: Path, settings: Mapping[str, Any], progress: Progress | None = None
) -> None:
    """Writes the files of a segmentation into a folder that is there."""
    from thinkseg.ops.masks import json_of
    from thinkseg.ops.video import write_video

    write_json(answer_record(result, settings), folder / "answer.json")
    if result.failure:
        return
    _write_masks(result.masklets, folder / "masks")
    with (folder / "masks.json").open("w", encoding="utf-8") as file:
        file.writelines(json_of(result.masklets))
    fps = result.sample.video.fps or FOLDER_FPS
    write_video(folder / "overlay.mp4", _painted(result, progress), fps)


def answer_record(result: Segmentation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What answer.json holds, as plain JSON values."""
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
        "settings": dict(settings),
        "versions": versions(),
        "tokens": {"read": result.outcome.num_prompt_tokens, "written": result.outcome.num_tokens},
        "seconds": {step: round(seconds, 3) for step, seconds in result.seconds.items()},
    }


def versions() -> dict[str, str]:
    """Versions of ThinkSeg, Python and the packages that results depend on."""
    return {
        "thinkseg": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def describe(result: Segmentation) -> str:
    """A segmentation in a few lines for a terminal."""
    answer, video = result.answer, result.sample.video
    if answer is None:
        return f"the reply could not be used ({result.failure}); answer.json holds it as it was written"
    lines = [answer.thinking] if answer.thinking else []
    if answer.keyframe is None:
        return "\n".join([*lines, "no such object"])
    seconds = video.time_of(answer.keyframe)
    when = "" if seconds is None else f" ({seconds:.2f} s)"
    lines.append(f"keyframe {answer.keyframe}{when}")
    lines += [f"box {','.join(f'{side:.1f}' for side in box)}" for box in answer.boxes]
    return "\n".join(lines)


def _write_masks(masklets: Masklets, folder: Path) -> None:
    """One picture a frame. Names have five digits, or as many as the last one needs, so that they sort."""
    from PIL import Image

    folder.mkdir()
    digits = max(5, len(str(masklets.num_frames - 1)))
    for frame in range(masklets.num_frames):
        mask = masklets.union(frame).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / f"{frame:0{digits}d}.png", compress_level=3)


def _painted(result: Segmentation, progress: Progress | None) -> Iterator[np.ndarray]:
    """The frames with their masks, and on the keyframe its boxes, one by one."""
    from thinkseg.ops.draw import overlay

    video, masklets, answer = result.sample.video, result.masklets, result.answer
    for index, frame in enumerate(video.read(range(len(video)))):
        masks = masklets.masks(index)
        on_keyframe = answer is not None and index == answer.keyframe
        yield overlay(frame, masks, answer.boxes if answer and on_keyframe else None)
        if progress:
            progress(index + 1, len(video))
