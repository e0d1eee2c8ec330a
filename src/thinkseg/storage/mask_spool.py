"""Masks of long videos: run lengths in, in any order of frames, `Masklets` out.

Masks of a short clip stay in memory. Beyond `HELD_BYTES` they go to a temporary file, from which the masklets read when
they are asked; it has no name, and vanishes with them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Masklets, Rle

HELD_BYTES = 16 << 20
"""Run lengths that are held in memory: those of some thousand smooth masks."""


@contextmanager
def _room() -> Iterator[None]:
    """Says in one line what to do when the disk does not take what is to be kept."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{gettempdir()} does not take the masks of a long video ({error.strerror}):"
            " set TMPDIR to a folder with more room"
        ) from error


class MaskSpool:
    """Collects the masks of some objects in a video, frame by frame, in any order; what is not put is not seen.

    held_bytes: run lengths in memory before they move to a temporary file.
    """

    def __init__(
        self, size_wh: tuple[int, int], num_frames: int, num_objects: int, held_bytes: int = HELD_BYTES
    ) -> None:
        self.size_wh = size_wh
        self.num_frames = num_frames
        self._held_bytes = held_bytes
        self._file = SpooledTemporaryFile(held_bytes)  # noqa: SIM115, it lives as long as the tracks do
        self._end = 0
        self._places = np.zeros((num_objects, num_frames, 2), np.int64)  # where an RLE starts, and its length
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def put(self, frame: int, rles: Sequence[Rle | None]) -> None:
        """Keeps the masks of all objects in one frame. Raises SettingsError if the disk is full."""
        for obj, rle in enumerate(rles):
            if rle is None:
                self._places[obj, frame] = 0
                continue
            counts = rle["counts"].encode("ascii")
            with self._lock, _room():
                self._file.seek(self._end)
                self._file.write(counts)
            self._places[obj, frame] = self._end, len(counts)
            self._end += len(counts)

    def masklets(self) -> Masklets:
        """All that was put: plain tuples if it fits in memory, tracks that read from the disk if not."""
        tracks = (_Track(self, obj) for obj in range(len(self._places)))
        on_disk = self._end > self._held_bytes
        return Masklets(self.size_wh, self.num_frames, tuple(tracks if on_disk else map(tuple, tracks)))

    def get(self, obj: int, frame: int) -> Rle | None:
        """The mask of an object in a frame, None where it is not seen."""
        start, length = (int(place) for place in self._places[obj, frame])
        if not length:
            return None
        with self._lock, _room():
            self._file.seek(start)
            counts = self._file.read(length)
        return {"size": list(self.size_wh[::-1]), "counts": counts.decode("ascii")}


class _Track:
    """The masks of one object. Satisfies `types.Track`; a copy for another process is a plain tuple."""

    def __init__(self, spool: MaskSpool, obj: int) -> None:
        self._spool = spool
        self._obj = obj

    def __len__(self) -> int:
        return self._spool.num_frames

    def __getitem__(self, frame: int, /) -> Rle | None:
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} of a track of {len(self)}")
        return self._spool.get(self._obj, frame)

    def __iter__(self) -> Iterator[Rle | None]:
        return (self[frame] for frame in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)
