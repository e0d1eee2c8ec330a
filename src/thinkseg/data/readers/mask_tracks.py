"""Masks of one object over a video, read from a data set's files on access (`types.Track`).

RLEs of a file are checked on access and passed on unchanged; mask images are encoded as RLEs. Tracks can be pickled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode
from thinkseg.data.readers.mask_images import label_map, mask_image, unclear_mask
from thinkseg.rle import Rle, checked, encode
from thinkseg.types import Masklets


class LazyTrack(ABC):
    """A track that reads the mask of a frame on access. Satisfies `types.Track`."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, frame: int, /) -> Rle | None:
        """Raises IndexError outside 0..len-1, DatasetFileError if the file is invalid."""
        if not 0 <= frame < self._num_frames:
            raise IndexError(f"frame {frame}: the track has frames 0..{self._num_frames - 1}")
        return self._read(frame)

    def __iter__(self) -> Iterator[Rle | None]:
        return (self[frame] for frame in range(self._num_frames))

    @abstractmethod
    def issues(self) -> Iterator[DatasetFileError]:
        """Yields the issues of all masks."""

    @abstractmethod
    def _read(self, frame: int) -> Rle | None: ...


class RleTrack(LazyTrack):
    """RLEs of a JSON file.

    load: returns one entry per frame, null or an RLE; called once, on the first access.
    size_wh: size of the video, which the masks must share.
    """

    def __init__(self, load: Callable[[], Sequence[JsonNode]], num_frames: int, size_wh: tuple[int, int]) -> None:
        super().__init__(num_frames)
        self._load = load
        self._entries: Sequence[JsonNode] | None = None
        self._size_wh = size_wh

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_entries": None}

    def issues(self) -> Iterator[DatasetFileError]:
        try:
            entries = self._loaded()
        except DatasetFileError as error:
            yield error
            return
        for frame in range(len(self)):
            try:
                checked_rle(entries[frame], self._size_wh)
            except DatasetFileError as error:
                yield error

    def _read(self, frame: int) -> Rle | None:
        return checked_rle(self._loaded()[frame], self._size_wh)

    def _loaded(self) -> Sequence[JsonNode]:
        if self._entries is None:
            self._entries = self._load()
        return self._entries


class PngTrack(LazyTrack):
    """PNG files of masks.

    paths: one per frame; None for a frame without a mask.
    label: pixel value of the object in label maps; None for mask images, in which the object is not black.
    one_value: whether all pixels of the object in a mask image must have one value; otherwise only `issues` says so.
    """

    def __init__(
        self,
        paths: Sequence[Path | None],
        size_wh: tuple[int, int],
        label: int | None = None,
        one_value: bool = False,
    ) -> None:
        super().__init__(len(paths))
        self._paths = paths
        self._size_wh = size_wh
        self._label = label
        self._one_value = one_value

    def issues(self) -> Iterator[DatasetFileError]:
        """Yields the issues of each mask, and of an object that no mask shows or that seems to be the background."""
        paths = [path for path in self._paths if path is not None]
        shown: list[bool] = []
        surrounding: list[bool] = []
        for path in paths:
            try:
                mask = self._mask(path, one_value=True)
            except DatasetFileError as error:
                yield error
            else:
                shown.append(bool(mask.any()))
                surrounding.append(_has_border(mask))
        if not shown or len(shown) < len(paths):
            return
        if not any(shown):
            obj = "the object" if self._label is None else f"object {self._label}"
            yield unclear_mask(paths[0].parent, f"no mask shows {obj}; check the values of the masks")
        elif self._label is None and 2 * sum(surrounding) > len(paths):
            yield unclear_mask(paths[0].parent, "the object fills the border of most frames; are the masks inverted?")

    def _read(self, frame: int) -> Rle | None:
        path = self._paths[frame]
        if path is None:
            return None
        mask = self._mask(path, self._one_value)
        return encode(mask) if mask.any() else None

    def _mask(self, path: Path, one_value: bool) -> np.ndarray:
        if self._label is None:
            return mask_image(path, self._size_wh, one_value)
        return label_map(path, self._size_wh) == self._label


def _has_border(mask: np.ndarray) -> bool:
    return all(bool(side.all()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def stored_masklets(node: JsonNode, num_frames: int, size_wh: tuple[int, int]) -> Masklets:
    """Reads masks that `thinkseg.ops.masks.json_of` wrote, with their confidence.

    Raises DatasetFileError of the kind "missing_frame" for an object with another number of masks, "size_mismatch" for
    a mask of another size, "invalid_rle" or "invalid_field" if the file is invalid.
    """
    tracks = []
    for obj in node["objects"].items():
        if len(obj.items()) != num_frames:
            raise obj.error("missing_frame", f"has {len(obj.items())} masks for {num_frames} frames")
        tracks.append(tuple(checked_rle(entry, size_wh) for entry in obj.items()))
    return Masklets(size_wh, num_frames, tuple(tracks), _confidence(node, len(tracks), num_frames))


def _confidence(node: JsonNode, num_objects: int, num_frames: int) -> np.ndarray | None:
    if "confidence" not in node:
        return None
    rows = [[value.number() for value in row.items()] for row in node["confidence"].items()]
    if {len(row) for row in rows} - {num_frames} or len(rows) != num_objects:
        raise node["confidence"].error("invalid_field", "must have a number per object and frame")
    return np.array(rows, np.float32).reshape(num_objects, num_frames)


def checked_rle(entry: JsonNode, size_wh: tuple[int, int]) -> Rle | None:
    """Returns the RLE of an entry, None for null. Raises DatasetFileError for an invalid RLE or another size."""
    if entry.value is None:
        return None
    if _is_valid(entry.value, size_wh):
        return entry.value
    try:
        rle = checked(entry.value)
    except ValueError as error:
        raise entry.error("invalid_rle", f"is not a valid RLE ({error})") from None
    height, width = rle["size"]
    if (width, height) != size_wh:
        raise entry.error("size_mismatch", f"is a mask of {width}x{height}, its video {size_wh[0]}x{size_wh[1]}")
    return rle


def _is_valid(value: Any, size_wh: tuple[int, int]) -> bool:
    """Whether a value is an RLE of this size in the usual form; False also for valid RLEs in other forms.

    A fast check for the common case: it takes a tenth of the time of `thinkseg.rle.checked`.
    """
    from thinkseg.ops.bitmasks import pack_runs

    if not isinstance(value, dict) or not isinstance(value.get("counts"), str) or type(value.get("size")) is not list:
        return False
    if len(value) != 2 or any(type(side) is not int for side in value["size"]):
        return False
    try:
        pack_runs([value], size_wh)
    except ValueError:
        return False
    return True
