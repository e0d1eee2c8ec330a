"""Masks of one object over a video, read from a data set's files when they are asked for: `types.Track`s.

Run lengths go from the file into the masklets as they are, each checked when it is used; pictures are turned into run
lengths. Every track can be copied to another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode
from thinkseg.data.readers.mask_images import check_size, label_map, mask_picture
from thinkseg.rle import Rle, checked, encode


class LazyTrack(ABC):
    """A track that reads a frame's mask when it is asked for. Satisfies `types.Track`."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, frame: int, /) -> Rle | None:
        """Raises IndexError outside 0..len-1, TreeError if the file is not as it should be."""
        if not 0 <= frame < self._num_frames:
            raise IndexError(f"frame {frame} of a track of {self._num_frames}")
        return self._read(frame)

    def __iter__(self) -> Iterator[Rle | None]:
        return (self[frame] for frame in range(self._num_frames))

    @abstractmethod
    def flaws(self) -> Iterator[DatasetFileError]:
        """What is wrong with the masks, as far as it can be told without turning any into pixels."""

    @abstractmethod
    def _read(self, frame: int) -> Rle | None: ...


class RleTrack(LazyTrack):
    """Run lengths of a JSON file.

    load: gives an entry for each frame, null or an RLE; called once, when the first mask is asked for.
    size_wh: size of the video, which the masks must share.
    """

    def __init__(self, load: Callable[[], Sequence[JsonNode]], num_frames: int, size_wh: tuple[int, int]) -> None:
        super().__init__(num_frames)
        self._load = load
        self._entries: Sequence[JsonNode] | None = None
        self._size_wh = size_wh

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_entries": None}

    def flaws(self) -> Iterator[DatasetFileError]:
        try:
            entries = self._loaded()
        except DatasetFileError as flaw:
            yield flaw
            return
        for frame in range(len(self)):
            try:
                checked_rle(entries[frame], self._size_wh)
            except DatasetFileError as flaw:
                yield flaw

    def _read(self, frame: int) -> Rle | None:
        return checked_rle(self._loaded()[frame], self._size_wh)

    def _loaded(self) -> Sequence[JsonNode]:
        if self._entries is None:
            self._entries = self._load()
        return self._entries


class PngTrack(LazyTrack):
    """Pictures of masks.

    paths: one for each frame; None where there is no mask.
    label: the value of the object's pixels in label maps; None for pictures of one object, not black where it is.
    """

    def __init__(self, paths: Sequence[Path | None], size_wh: tuple[int, int], label: int | None = None) -> None:
        super().__init__(len(paths))
        self._paths = paths
        self._size_wh = size_wh
        self._label = label

    def flaws(self) -> Iterator[DatasetFileError]:
        for path in self._paths:
            if path is not None:
                try:
                    check_size(path, self._size_wh)
                except DatasetFileError as flaw:
                    yield flaw

    def _read(self, frame: int) -> Rle | None:
        path = self._paths[frame]
        if path is None:
            return None
        if self._label is None:
            mask = mask_picture(path, self._size_wh)
        else:
            mask = label_map(path, self._size_wh) == self._label
        return encode(mask) if mask.any() else None


def checked_rle(entry: JsonNode, size_wh: tuple[int, int]) -> Rle | None:
    """A mask of a JSON file; None for null. Raises TreeError if it is no RLE, or one of another size."""
    if entry.value is None:
        return None
    if _is_sound(entry.value, size_wh):
        return entry.value
    try:
        rle = checked(entry.value)
    except ValueError as error:
        raise entry.flaw("rle", f"is not a mask ({error})") from None
    height, width = rle["size"]
    if (width, height) != size_wh:
        raise entry.flaw("size", f"is {width}x{height} where the video is {size_wh[0]}x{size_wh[1]}")
    return rle


def _is_sound(value: Any, size_wh: tuple[int, int]) -> bool:
    """Whether this is plainly an RLE of this size. If not, it may be one in another form, or lack something.

    Walking through the runs as packing does takes a tenth of the time that looking for words takes.
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
