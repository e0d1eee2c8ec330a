"""Collects the masks of long videos, in memory up to `MEMORY_BYTES`, then in a temporary file.

`Masklets` in the file read masks on access. The file has no name, and is deleted with the masklets.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Masklets, Rle, Track

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MEMORY_BYTES = 16 << 20
"""Enough for the RLEs of several thousand smooth masks."""


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Converts errors of the temporary file to SettingsError."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{gettempdir()} cannot store the masks of a long video ({error.strerror}):"
            " set TMPDIR to a folder with more space"
        ) from error


class MaskSpool:
    """Collects the masks of a video's objects per frame, in any order. Objects are not visible in frames not put.

    memory_bytes: size of RLEs above which they are moved to a temporary file.
    """

    def __init__(
        self, size_wh: tuple[int, int], num_frames: int, num_objects: int, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.size_wh = size_wh
        self.num_frames = num_frames
        self._memory_bytes = memory_bytes
        self._file = SpooledTemporaryFile(memory_bytes)  # noqa: SIM115, closed with the spool
        self._end = 0
        self._spans = np.zeros((num_objects, num_frames, 2), np.int64)  # offset and length of each RLE
        self._confidence = np.zeros((num_objects, num_frames), np.float32)
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def put(
        self,
        frame: int,
        rles: Sequence[Rle | None],
        confidence: ArrayLike,
        objects: Sequence[int] | None = None,
    ) -> None:
        """Stores the masks of objects (default: all) in a frame, and their confidence (N,) in 0..1.

        Raises SettingsError if the disk is full.
        """
        objects = range(len(self._spans)) if objects is None else objects
        self._confidence[objects, frame] = confidence
        for obj, rle in zip(objects, rles, strict=True):
            if rle is None:
                self._spans[obj, frame] = 0
                continue
            counts = rle["counts"].encode("ascii")
            with self._lock, _disk_errors():
                self._file.seek(self._end)
                self._file.write(counts)
            self._spans[obj, frame] = self._end, len(counts)
            self._end += len(counts)

    def masklets(self) -> Masklets:
        """Returns all masks: tuples if they are in memory, else tracks that read from the disk."""
        tracks = (_Track(self, obj) for obj in range(len(self._spans)))
        on_disk = self._end > self._memory_bytes
        rles: tuple[Track, ...] = tuple(tracks) if on_disk else tuple(map(tuple, tracks))
        return Masklets(self.size_wh, self.num_frames, rles, self._confidence)

    def get(self, obj: int, frame: int) -> Rle | None:
        """Returns the mask of an object in a frame; None if it is not visible."""
        start, length = (int(number) for number in self._spans[obj, frame])
        if not length:
            return None
        with self._lock, _disk_errors():
            self._file.seek(start)
            counts = self._file.read(length)
        return {"size": list(self.size_wh[::-1]), "counts": counts.decode("ascii")}


class _Track:
    """The masks of one object. Implements `thinkseg.types.Track`. Pickles as a tuple."""

    def __init__(self, spool: MaskSpool, obj: int) -> None:
        self._spool = spool
        self._obj = obj

    def __len__(self) -> int:
        return self._spool.num_frames

    def __getitem__(self, frame: int, /) -> Rle | None:
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} is not in a track of {len(self)} frames")
        return self._spool.get(self._obj, frame)

    def __iter__(self) -> Iterator[Rle | None]:
        return (self[frame] for frame in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)
