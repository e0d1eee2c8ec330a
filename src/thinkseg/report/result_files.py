"""The folder in which a `Segmentation` is saved.

    answer.json     query, thinking, keyframe, boxes, raw replies, their repairs, settings, versions, tokens, wall time;
                    prompts by hand; per object the number of frames with a mask, and when it was lost; warnings
    masks.json      COCO RLE and the tracker's confidence per object and frame, with the times and files of the frames
    masks/00000.png, overlay.mp4, ...   the formats asked for (`thinkseg.report.formats`); a video is left out if it
                    cannot be written
    .thinkseg       list of these files; marks a folder that a later result may replace

The folder is written as a whole. An invalid reply has only answer.json. Memory use does not grow with video length.
`stored_result` reads the folder.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg import __version__
from thinkseg.chains.parsing import explained
from thinkseg.errors import VideoError
from thinkseg.report.formats import DEFAULT
from thinkseg.rle import encode
from thinkseg.storage.atomic import write_json
from thinkseg.storage.result_folder import result_folder
from thinkseg.types import Frames, ObjectPrompt, ProgressCallback, Segmentation, part_of

COMMAND = "segment"

ANSWER, MASKS = "answer.json", "masks.json"
"""Names of the files that each result has."""

PACKAGES = ("torch", "transformers", "numpy", "av", "opencv-python-headless")
"""Packages that results may depend on."""


def write_result(
    result: Segmentation,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
    formats: Iterable[str] = DEFAULT,
) -> dict[str, VideoError]:
    """Writes a segmentation to the folder `out`, see `write_files`. Raises SettingsError as `result_folder` does."""
    with result_folder(Path(out), COMMAND) as folder:
        return write_files(result, folder, settings or {}, progress, formats)


def write_files(
    result: Segmentation,
    folder: Path,
    settings: Mapping[str, Any],
    progress: ProgressCallback | None = None,
    formats: Iterable[str] = DEFAULT,
) -> dict[str, VideoError]:
    """Writes the files of a segmentation to an existing folder.

    settings: JSON values for answer.json. progress: called with (done, total) frames. formats: keys of `FORMATS`.
    Returns why formats are left out, by their name.
    """
    from thinkseg.ops.masks import json_of
    from thinkseg.report.formats.writing import write_formats

    write_json(answer_record(result, settings), folder / ANSWER)
    if result.failure:
        return {}
    with (folder / MASKS).open("w", encoding="utf-8") as file:
        file.writelines(json_of(result.masklets, _frame_record(result)))
    return write_formats(result, folder, formats, progress)


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
            **_source_of(video),
            **_window_of(video),
        },
        "failure": result.failure,
        "no_target": answer is not None and keyframe is None,
        "thinking": answer.thinking if answer else None,
        "keyframe": None if keyframe is None else _frame(result, keyframe),
        "boxes": answer.boxes.tolist() if answer else [],
        "objects": [_object_record(result, obj) for obj in range(result.masklets.num_objects)],
        "warnings": list(result.warnings),
        "prompts": [_prompt_record(result, one) for one in result.prompts],
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
    lines.append(f"keyframe {part_of(video).indices[answer.keyframe]}{time}")
    lines += [f"box {','.join(f'{side:.1f}' for side in box)}" for box in answer.boxes]
    return "\n".join([*lines, *_seen_lines(result)])


def _object_record(result: Segmentation, obj: int) -> dict[str, Any]:
    """In how many frames an object has a mask, and when it is lost."""
    lost = _lost_frame(result, obj)
    return {
        "seen": int(result.masklets.seen(obj).sum()),
        "lost": None if lost is None else _frame(result, lost),
    }


def _frame(result: Segmentation, frame: int) -> dict[str, Any]:
    """Where a frame is in the source: its index and its time."""
    video = result.sample.video
    return {"index": part_of(video).indices[frame], "seconds": video.time_of(frame)}


def _prompt_record(result: Segmentation, prompt: ObjectPrompt) -> dict[str, Any]:
    """What marks an object on a frame; points as x, y, and 1 on the object or 0 beside it."""
    points = zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True)
    return {
        "object": prompt.obj + 1,
        "frame": _frame(result, prompt.frame),
        "box": None if prompt.box is None else prompt.box.tolist(),
        "points": [[*xy, label] for xy, label in points],
        "mask": None if prompt.mask is None else encode(prompt.mask),
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
    return f"frame {part_of(result.sample.video).indices[frame]}" if seconds is None else f"{seconds:.1f} s"


def _source_of(video: Frames) -> dict[str, str]:
    """Where a video was read from, if from a file or a folder."""
    path: Path | None = getattr(video, "path", None)
    return {} if path is None else {"path": os.path.abspath(path)}


def _window_of(video: Frames) -> dict[str, Any]:
    """Which frames of the source a video consists of, if not of all, or not in their size."""
    part = part_of(video)
    if part.indices == range(part.num_frames) and part.size_wh == video.size_wh:
        return {}
    indices = {"start": part.indices.start, "end": part.indices[-1] + 1, "stride": part.indices.step}
    return {"window": {**indices, "source_frames": part.num_frames, "source_size": list(part.size_wh)}}


def _frame_record(result: Segmentation) -> dict[str, Any]:
    """What is known of each frame besides its masks: its time in seconds, the name of its image file."""
    video = result.sample.video
    record = {
        "frames": list(part_of(video).indices) if _window_of(video) else None,
        "times": [video.time_of(frame) for frame in range(len(video))],
        "files": getattr(video, "file_names", None),
    }
    return {name: values for name, values in record.items() if values and values[0] is not None}
