"""Where benchmarks of a kind keep frames and masks: a video and an object in, frames and tracks out.

JpegFolders holds frames alone. RleFiles adds a mask_dict.json, LabelFiles a tree of label maps, MaskFolders pictures of
one object each. All satisfy `benchmark.Files`, read nothing before they are asked to, and can be copied to other
processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from thinkseg.data.benchmarks.base import Video
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode, list_folder
from thinkseg.data.readers.mask_dict import MaskFile
from thinkseg.data.readers.mask_tracks import LazyTrack, PngTrack, RleTrack
from thinkseg.types import Frames


class JpegFolders:
    """Frames as <folder>/<video>/<frame>.jpg, without any masks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def frame_paths(self, video: Video) -> Sequence[Path]:
        place = self.folder / video.id
        return [place / f"{name}.jpg" for name in video.frames]

    def frames(self, video: Video) -> Frames:
        from thinkseg.ops.video import FrameFolder

        check_folder(self.folder / video.id)
        return FrameFolder(self.frame_paths(video), name=video.id)

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        raise DatasetFileError("id", f"video {video.id}: there are no masks of object {obj}: this split comes without")

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        return None


class RleFiles(JpegFolders):
    """Masks in a mask_dict.json, {"<annotation>": [RLE or null for each frame of its video]}.

    merged: a mask_dict_foreground.json, {"<video>": {"masks_rle": [RLE for each frame]}}, where there is one.
    """

    def __init__(self, folder: Path, masks: MaskFile, merged: MaskFile | None = None) -> None:
        super().__init__(folder)
        self.masks = masks
        self.merged = merged

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        if obj not in self.masks:
            raise DatasetFileError("id", f"{self.masks.path} has no annotation {obj}, which video {video.id} asks for")
        return RleTrack(partial(_masks_of, self.masks, obj, None, len(video.frames)), len(video.frames), size_wh)

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        if self.merged is None:
            return None
        if video.id not in self.merged:
            raise DatasetFileError("id", f"{self.merged.path} has no video {video.id}")
        load = partial(_masks_of, self.merged, video.id, "masks_rle", len(video.frames))
        return RleTrack(load, len(video.frames), size_wh)


class LabelFiles(JpegFolders):
    """Masks as label maps, <annotations>/<video>/<frame>.png; an object is the number of its pixels."""

    def __init__(self, folder: Path, annotations: Path) -> None:
        super().__init__(folder)
        self.annotations = annotations

    def map_paths(self, video: Video) -> Sequence[Path]:
        """Where the label map of each frame is, or should be."""
        place = self.annotations / video.id
        return [place / f"{name}.png" for name in video.frames]

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        return PngTrack(self.map_paths(video), size_wh, label=int(obj))


class MaskFolders(JpegFolders):
    """Masks as <annotations>/<object>/<frame>.png, not black where the object is; not every frame need have one."""

    def __init__(self, folder: Path, annotations: Path) -> None:
        super().__init__(folder)
        self.annotations = annotations

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        place = self.annotations / obj
        there = set(list_folder(place))
        names = [f"{name}.png" for name in video.frames]
        return PngTrack([place / name if name in there else None for name in names], size_wh)

    def annotated(self, video: Video, obj: str) -> tuple[int, ...]:
        """Frames in which an object has a picture, as positions in its video. Raises TreeError if it has none."""
        place = self.annotations / obj
        names = [name.removesuffix(".png") for name in list_folder(place) if name.endswith(".png")]
        positions = {name: position for position, name in enumerate(video.frames)}
        if not names:
            raise DatasetFileError("mask", f"folder {place} holds no .png file; is the data set complete?")
        if strays := [name for name in names if name not in positions]:
            raise DatasetFileError("frame", f"mask {place / strays[0]}.png belongs to no frame of video {video.id}")
        return tuple(sorted(positions[name] for name in names))


def check_folder(folder: Path) -> None:
    """Raises TreeError if there is no folder with frames of this name."""
    # os.path.isdir says no, where Path.is_dir raises, to names the file system refuses.
    if not os.path.isdir(folder):
        raise DatasetFileError("frame", f"there is no folder {folder} with frames; is the data set complete?")


def jpeg_names(folder: Path) -> tuple[str, ...]:
    """The names of a video's frames, sorted, where a folder is all that lists them. Raises TreeError if it has none."""
    check_folder(folder)
    names = tuple(name.removesuffix(".jpg") for name in list_folder(folder) if name.endswith(".jpg"))
    if not names:
        raise DatasetFileError("frame", f"folder {folder} holds no .jpg file; is the data set complete?")
    return names


def _masks_of(file: MaskFile, key: str, field: str | None, num_frames: int) -> Sequence[JsonNode]:
    """One entry for each frame, from a value of a file or from a field of it.

    Entries are found by the position of a frame in its video's list, as the evaluators do; more of them do no harm.
    """
    value = file[key]
    entries = value if field is None else value[field]
    masks = entries.items()
    if len(masks) < num_frames:
        raise entries.flaw("mask", f"has {len(masks)} masks for {num_frames} frames")
    return masks
