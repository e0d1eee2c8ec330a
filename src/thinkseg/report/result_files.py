"""The folder in which a `Segmentation` is saved.

    answer.json     query, thinking, keyframe, boxes, raw replies, their repairs, settings, versions, tokens, wall time;
                    per object the number of frames with a mask, when it was lost, and the tracker's confidence;
                    warnings
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
        "objects": [_object_record(result, obj) for obj in range(result.masklets.num_objects)],
        "warnings": list(result.warnings),
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
    return "\n".join([*lines, *_seen_lines(result)])


def _object_record(result: Segmentation, obj: int) -> dict[str, Any]:
    """In how many frames an object has a mask, when it is lost, and the confidence of each frame, if it is known."""
    masklets, confidence = result.masklets, result.masklets.confidence
    lost = _lost_frame(result, obj)
    return {
        "seen": int(masklets.seen(obj).sum()),
        "lost": None if lost is None else {"index": lost, "seconds": result.sample.video.time_of(lost)},
        "confidence": None if confidence is None else [round(float(value), 3) for value in confidence[obj]],
    }


def _lost_frame(result: Segmentation, obj: int) -> int | None:
    """The first frame from the keyframe on in which an object has no mask; None if there is none."""
    start = result.answer.keyframe or 0 if result.answer else 0
    missing = np.flatnonzero(~result.masklets.seen(obj)[start:])
    return start + int(missing[0]) if len(missing) else None


def _seen_lines(result: Segmentation) -> list[str]:
    """Where objects are seen: a line for each that is not seen in all frames, else one line."""
    masklets, lines = result.masklets, []
    for obj in range(masklets.num_objects):
        seen, lost = masklets.seen(obj), _lost_frame(result, obj)
        if not seen.all():
            line = f"object {obj + 1}: seen in {int(seen.sum())} of {len(seen)} frames"
            if seen.any() and not seen[0]:
                line += f", first at {_moment(result, int(seen.argmax()))}"
            lines.append(line if lost is None else f"{line}, lost at {_moment(result, lost)}")
    return lines or [f"seen in all {masklets.num_frames} frames"]


def _moment(result: Segmentation, frame: int) -> str:
    """The time of a frame as text, or its index if its time is unknown."""
    seconds = result.sample.video.time_of(frame)
    return f"frame {frame}" if seconds is None else f"{seconds:.1f} s"


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
