"""The shapes world as files: clips and their questions in; videos, and a tree in the layout of ReVOS, out.

    videos/<clip>.mp4                   the clips as anybody's video files (H.264)
    JPEGImages/<clip>/00000.jpg ...     their frames
    meta_expressions_train_.json        clips of the train split, else {"videos": {}}
    meta_expressions_valid_.json        clips of the other splits, likewise
    mask_dict.json                      {"<anno_id>": [RLE or null for each frame]}, one annotation for each object
    mask_dict_foreground.json           {"<clip>": {"masks_rle": [RLE, ...], "foreground_ratio": [float, ...]}}

One clip in a file of expressions:

    "val-000007": {"vid_id": 0, "height": 224, "width": 224, "frames": ["00000", "00001"], "expressions": {
        "0": {"exp": "what set the blue ball moving", "obj_id": [2], "anno_id": [14], "type_id": 1}}}

type_id is 0 for referring, 1 for reasoning (all categories but two) and 2 for no target, whose lists are empty. obj_id
counts the objects of a clip and anno_id those of the whole tree. The foreground of a clip is what its expressions ask
for, all of them merged; a run-length mask is {"size": [height, width], "counts": COCO's compressed string}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data.shapes.episodes import Episode, episode, episode_masklets
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.simulation import FPS
from thinkseg.ops.masks import encode
from thinkseg.types import Masklets, Progress

REFERRING, REASONING, NO_TARGET = 0, 1, 2
"""ReVOS's type_id."""

JPEG_QUALITY = 95


def export(
    folder: Path,
    split: str,
    indices: Sequence[int],
    size_wh: tuple[int, int] = (224, 224),
    num_questions: int = 1,
    progress: Progress | None = None,
) -> int:
    """Writes clips (split, index) with up to `num_questions` questions each; returns how many questions there are.

    folder: there, and empty. progress: called with (done, total) clips.
    Raises DatasetError for a split or an index that cannot be, OSError or VideoError if a file cannot be written.
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
    train, valid = (videos, {}) if split == "train" else ({}, videos)
    _write_json({"videos": train}, folder / "meta_expressions_train_.json")
    _write_json({"videos": valid}, folder / "meta_expressions_valid_.json")
    _write_json(masks, folder / "mask_dict.json")
    _write_json(foreground, folder / "mask_dict_foreground.json")
    return sum(len(video["expressions"]) for video in videos.values())


def _write_frames(folder: Path, one: Episode, size_wh: tuple[int, int]) -> None:
    """The clip as a video file and as pictures."""
    from PIL import Image

    from thinkseg.ops.video import write_video

    pictures = folder / "JPEGImages" / one.id
    pictures.mkdir(parents=True)
    (folder / "videos").mkdir(exist_ok=True)
    video = ShapesVideo(one.clip, size_wh, one.id)
    everything = range(one.clip.num_frames)
    write_video(folder / "videos" / f"{one.id}.mp4", video.read(everything), FPS)
    # Drawing a frame again is cheaper than holding a whole clip of large ones.
    for name, frame in zip(_frame_names(one), video.read(everything), strict=True):
        Image.fromarray(frame).save(pictures / f"{name}.jpg", quality=JPEG_QUALITY)


def _entry(one: Episode, vid_id: int, first_anno: int, size_wh: tuple[int, int]) -> dict[str, Any]:
    """One clip in a file of expressions. first_anno: the annotation of its first object."""
    width, height = size_wh
    expressions = {}
    for number, (text, question) in enumerate(zip(one.texts, one.asked, strict=True)):
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
    """All that is asked for about a clip, merged; a frame without any of it has an empty mask, never null."""
    asked = sorted({obj for question in one.asked for obj in question.targets})
    wanted = Masklets(objects.size_wh, objects.num_frames, tuple(objects.rles[obj] for obj in asked))
    merged = [wanted.union(frame) for frame in range(wanted.num_frames)]
    return {
        "masks_rle": [encode(mask) for mask in merged],
        "foreground_ratio": [float(np.mean(mask)) for mask in merged],
    }


def _frame_names(one: Episode) -> list[str]:
    return [f"{frame:05d}" for frame in range(one.clip.num_frames)]


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value) + "\n", "utf-8")
