"""Writes clips of the shapes world as video files, and as a data set in the layout of ReVOS.

    videos/<clip>.mp4                   the clips as H.264 videos
    JPEGImages/<clip>/00000.jpg ...     their frames
    JPEGImages/fps.json                 {"fps": 12.0}
    meta_expressions_train_.json        clips of the train split, else {"videos": {}}
    meta_expressions_valid_.json        clips of the other splits, likewise
    mask_dict.json                      {"<anno_id>": [RLE or null per frame]}, one annotation per object
    mask_dict_foreground.json           {"<clip>": {"masks_rle": [RLE, ...], "foreground_ratio": [float, ...]}}

One clip in a file of expressions:

    "val-000007": {"vid_id": 0, "height": 224, "width": 224, "frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "what set the blue ball moving", "obj_id": [2], "anno_id": [14], "type_id": 1}}}

type_id is 0 for the category "referring", 2 for "none" (with empty lists) and 1, reasoning, for all others. obj_id
numbers the objects of a clip, anno_id those of all clips. The foreground of a clip is the union of its targets. An RLE
is {"size": [height, width], "counts": COCO's compressed string}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data.readers.frame_rates import write_rate
from thinkseg.data.shapes.episodes import SOURCE_WH, Episode, episode, episode_masklets
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.simulation import FPS
from thinkseg.ops.masks import encode
from thinkseg.types import Masklets, ProgressCallback

REFERRING, REASONING, NO_TARGET = 0, 1, 2
"""ReVOS's type_id."""

JPEG_QUALITY = 95


def write_dataset(
    folder: Path,
    split: str,
    indices: Sequence[int],
    size_wh: tuple[int, int] = SOURCE_WH,
    num_questions: int = 1,
    progress: ProgressCallback | None = None,
) -> int:
    """Writes clips (split, index) with up to `num_questions` questions each; returns the number of questions.

    folder: an empty folder. progress: called with (done, total) clips. Raises DatasetError for an unknown split or a
    negative index, OSError or VideoError if a file cannot be written.
    """
    videos: dict[str, Any] = {}
    masks: dict[str, list[Any]] = {}
    foreground: dict[str, Any] = {}
    for done, index in enumerate(indices):
        one = episode(split, index, num_questions)
        objects = episode_masklets(one.clip, range(one.clip.num_objects), size_wh)
        _write_frames(folder, one, size_wh)
        videos[one.id] = _entry(one, vid_id=done, first_anno=len(masks), size_wh=size_wh)
        masks.update({str(len(masks) + obj): list(track) for obj, track in enumerate(objects.rles)})
        foreground[one.id] = _foreground(one, objects)
        if progress:
            progress(done + 1, len(indices))
    write_rate(folder / "JPEGImages", FPS)
    train, valid = (videos, {}) if split == "train" else ({}, videos)
    _write_json({"videos": train}, folder / "meta_expressions_train_.json")
    _write_json({"videos": valid}, folder / "meta_expressions_valid_.json")
    _write_json(masks, folder / "mask_dict.json")
    _write_json(foreground, folder / "mask_dict_foreground.json")
    return sum(len(video["expressions"]) for video in videos.values())


def _write_frames(folder: Path, one: Episode, size_wh: tuple[int, int]) -> None:
    """Writes the clip as a video file and as JPEG images."""
    from PIL import Image

    from thinkseg.ops.video import write_video

    images = folder / "JPEGImages" / one.id
    images.mkdir(parents=True)
    (folder / "videos").mkdir(exist_ok=True)
    video = ShapesVideo(one.clip, size_wh, one.id)
    all_frames = range(one.clip.num_frames)
    write_video(folder / "videos" / f"{one.id}.mp4", video.read(all_frames), FPS, comment=video.comment)
    # Rendering each frame twice takes less memory than keeping all frames.
    for name, frame in zip(_frame_names(one), video.read(all_frames), strict=True):
        Image.fromarray(frame).save(images / f"{name}.jpg", quality=JPEG_QUALITY)


def _entry(one: Episode, vid_id: int, first_anno: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Returns the entry of a clip in a file of expressions. first_anno: annotation id of its first object."""
    width, height = size_wh
    expressions = {}
    for number, (text, question) in enumerate(zip(one.texts, one.questions, strict=True)):
        expressions[str(number)] = {
            "exp": text,
            "obj_id": list(question.targets),
            "anno_id": [first_anno + obj for obj in question.targets],
            "type_id": {"referring": REFERRING, "none": NO_TARGET}.get(question.category, REASONING),
        }
    return {
        "vid_id": vid_id,
        "height": height,
        "width": width,
        "frames": _frame_names(one),
        "expressions": expressions,
    }


def _foreground(one: Episode, objects: Masklets) -> dict[str, Any]:
    """Returns the merged masks of a clip's targets; a frame without any has an empty mask, not null."""
    targets = sorted({obj for question in one.questions for obj in question.targets})
    masklets = Masklets(objects.size_wh, objects.num_frames, tuple(objects.rles[obj] for obj in targets))
    merged = [masklets.union(frame) for frame in range(masklets.num_frames)]
    return {
        "masks_rle": [encode(mask) for mask in merged],
        "foreground_ratio": [float(np.mean(mask)) for mask in merged],
    }


def _frame_names(one: Episode) -> list[str]:
    return [f"{frame:05d}" for frame in range(one.clip.num_frames)]


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value) + "\n", "utf-8")
