"""Common layouts of frames and masks; each class satisfies `base.Files`.

`JpegFolders` has only frames. `RleFiles` adds a mask_dict.json, `LabelFiles` a tree of label maps, `MaskFolders` mask
images of one object each. All read files on access only, and can be pickled.
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
from thinkseg.ops.pictures import is_image
from thinkseg.storage.fingerprint import sample_fingerprint, text_fingerprint
from thinkseg.types import Frames

MAX_FRAMES, MAX_MASKS = 16, 64
"""Files of a video and of an object that a fingerprint reads: half a second for 1,000 videos."""


class JpegFolders:
    """Frames as <folder>/<video>/<frame>.jpg, without masks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def frame_paths(self, video: Video) -> Sequence[Path]:
        folder = self.folder / video.id
        return [folder / f"{name}.jpg" for name in video.frames]

    def frames(self, video: Video) -> Frames:
        from thinkseg.ops.video import FrameFolder

        check_folder(self.folder / video.id)
        return FrameFolder(self.frame_paths(video), name=video.id)

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        raise DatasetFileError("unknown_id", f"video {video.id}: no masks of object {obj}; this split has no masks")

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        return None

    def frame_fingerprint(self, video: Video) -> str:
        return sample_fingerprint(self.frame_paths(video), MAX_FRAMES)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return ""


class RleFiles(JpegFolders):
    """Masks in a mask_dict.json, {"<annotation>": [RLE or null per frame of its video]}.

    merged: a mask_dict_foreground.json, {"<video>": {"masks_rle": [RLE per frame]}}, if there is one.
    """

    def __init__(self, folder: Path, masks: MaskFile, merged: MaskFile | None = None) -> None:
        super().__init__(folder)
        self.masks = masks
        self.merged = merged

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        if obj not in self.masks:
            raise DatasetFileError("unknown_id", f"{self.masks.path}: no annotation {obj}, needed for video {video.id}")
        return RleTrack(partial(_masks_of, self.masks, obj, None, len(video.frames)), len(video.frames), size_wh)

    def foreground(self, video: Video, size_wh: tuple[int, int]) -> LazyTrack | None:
        if self.merged is None:
            return None
        if video.id not in self.merged:
            raise DatasetFileError("unknown_id", f"{self.merged.path}: no video {video.id}")
        load = partial(_masks_of, self.merged, video.id, "masks_rle", len(video.frames))
        return RleTrack(load, len(video.frames), size_wh)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return text_fingerprint(obj, *(file.fingerprint for file in (self.masks, self.merged) if file))


class LabelFiles(JpegFolders):
    """Masks as label maps, <annotations>/<video>/<frame>.png; the id of an object is its pixel value."""

    def __init__(self, folder: Path, annotations: Path) -> None:
        super().__init__(folder)
        self.annotations = annotations

    def map_paths(self, video: Video) -> Sequence[Path]:
        """Returns the expected path of the label map of each frame."""
        folder = self.annotations / video.id
        return [folder / f"{name}.png" for name in video.frames]

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        return PngTrack(self.map_paths(video), size_wh, label=int(obj))

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return text_fingerprint(obj, sample_fingerprint(self.map_paths(video), MAX_MASKS))


class MaskFolders(JpegFolders):
    """Masks as <annotations>/<object>/<frame>.png, in which the object is not black; only for annotated frames.

    one_value: whether all pixels of an object must have one value, see `mask_image`.
    """

    def __init__(self, folder: Path, annotations: Path, one_value: bool = False) -> None:
        super().__init__(folder)
        self.annotations = annotations
        self.one_value = one_value

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        folder = self.annotations / obj
        existing = set(list_folder(folder))
        names = [f"{name}.png" for name in video.frames]
        paths = [folder / name if name in existing else None for name in names]
        return PngTrack(paths, size_wh, one_value=self.one_value)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return sample_fingerprint(sorted((self.annotations / obj).glob("*.png")), MAX_MASKS)

    def annotated(self, video: Video, obj: str) -> tuple[int, ...]:
        """Returns the indices of an object's annotated frames. Raises DatasetFileError if there are none."""
        folder = self.annotations / obj
        images = [name for name in list_folder(folder) if is_image(name)]
        if others := [name for name in images if not name.endswith(".png")]:
            raise DatasetFileError("missing_mask", f"{folder / others[0]}: not a .png file; masks must be .png files")
        names = [name.removesuffix(".png") for name in images]
        positions = {name: position for position, name in enumerate(video.frames)}
        if not names:
            raise DatasetFileError("missing_mask", f"{folder}: no .png file; is the data set complete?")
        if unknown := [name for name in names if name not in positions]:
            raise DatasetFileError("missing_frame", f"{folder / unknown[0]}.png: no such frame in video {video.id}")
        return tuple(sorted(positions[name] for name in names))


def check_folder(folder: Path) -> None:
    """Raises DatasetFileError if the folder of a video's frames is missing."""
    # os.path.isdir returns False for names the file system refuses; Path.is_dir raises.
    if not os.path.isdir(folder):
        raise DatasetFileError("missing_frame", f"{folder}: no such folder of frames; is the data set complete?")


def jpeg_names(folder: Path) -> tuple[str, ...]:
    """Returns the sorted names of the frames in a folder. Raises DatasetFileError if it has none or another image."""
    check_folder(folder)
    images = [name for name in list_folder(folder) if is_image(name)]
    if others := [name for name in images if not name.endswith(".jpg")]:
        raise DatasetFileError("missing_frame", f"{folder / others[0]}: not a .jpg file; frames must be .jpg files")
    if not images:
        raise DatasetFileError("missing_frame", f"{folder}: no .jpg file; is the data set complete?")
    return tuple(name.removesuffix(".jpg") for name in images)


def _masks_of(file: MaskFile, key: str, field: str | None, num_frames: int) -> Sequence[JsonNode]:
    """Returns one entry per frame, from a value of a file or from a field of that value."""
    value = file[key]
    return one_per_frame(value if field is None else value[field], num_frames)


def one_per_frame(entries: JsonNode, num_frames: int) -> Sequence[JsonNode]:
    """Returns the entries of a list of masks. Raises DatasetFileError if there are fewer than frames.

    Entry i belongs to the i-th frame of the video's list, as in the evaluators; surplus entries are ignored.
    """
    masks = entries.items()
    if len(masks) < num_frames:
        raise entries.error("missing_mask", f"has {len(masks)} masks for {num_frames} frames")
    return masks
