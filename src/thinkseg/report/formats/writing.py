"""Writes a result in several formats at once: each frame is decoded and its masks are read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from thinkseg.errors import VideoError
from thinkseg.report.formats import FORMATS
from thinkseg.types import ProgressCallback, Segmentation


@dataclass(frozen=True, slots=True)
class MaskedFrame:
    """One frame of a result. masks: bool (N, H, W). image: uint8 RGB (H, W, 3); None if no format needs it."""

    index: int
    masks: np.ndarray
    image: np.ndarray | None

    @property
    def union(self) -> np.ndarray:
        """The merged mask of all objects, bool (H, W)."""
        return np.asarray(self.masks.any(axis=0))


Add = Callable[[MaskedFrame], None]
"""Writes the next frame in one format."""


def write_formats(
    result: Segmentation, folder: Path, names: Iterable[str], progress: ProgressCallback | None = None
) -> dict[str, VideoError]:
    """Writes the masks of a result to an existing folder in the formats named, keys of `FORMATS`.

    progress: called with (done, total) frames. Memory use does not grow with the length of the video.
    Returns why formats are left out: their frames cannot be decoded or encoded. The others are complete then.
    """
    opened: list[_Open] = []
    with ExitStack() as stack:
        for name in names:
            if FORMATS[name].needs == "tracks":
                _writer(name)(result, folder)
            else:
                opened.append(stack.enter_context(_Open(name, result, folder)))
        if opened:
            _add_frames(result, opened, progress)
    return {one.name: one.error for one in opened if one.error}


def _writer(name: str) -> Callable[[Segmentation, Path], Any]:
    module, _, function = FORMATS[name].write.partition(".")
    writer: Callable[[Segmentation, Path], Any] = getattr(import_module(f"{__package__}.{module}"), function)
    return writer


def _add_frames(result: Segmentation, opened: Sequence[_Open], progress: ProgressCallback | None) -> None:
    video = result.sample.video
    pictured = [one for one in opened if FORMATS[one.name].needs == "frames"]
    images = iter(video.read(range(len(video)))) if pictured else repeat(None)
    for index in range(len(video)):
        try:
            image = next(images)
        except VideoError as error:
            images, image = repeat(None), None
            for one in pictured:
                one.leave_out(error)
        frame = MaskedFrame(index, result.masklets.masks(index), image)
        for one in opened:
            one.add(frame)
        if progress:
            progress(index + 1, len(video))


class _Open:
    """A format that is being written. After a VideoError it is left out, and the others continue."""

    def __init__(self, name: str, result: Segmentation, folder: Path) -> None:
        self.name = name
        self.error: VideoError | None = None
        self._open: AbstractContextManager[Add] = _writer(name)(result, folder)
        self._stack = ExitStack()

    def __enter__(self) -> _Open:
        with self._leaving_out():
            self._add = self._stack.enter_context(self._open)
        return self

    def add(self, frame: MaskedFrame) -> None:
        if not self.error:
            with self._leaving_out():
                self._add(frame)

    def leave_out(self, error: VideoError) -> None:
        self.error = self.error or error
        self._stack.__exit__(type(error), error, error.__traceback__)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error:
            self._stack.__exit__(kind, error, at)
            return
        with self._leaving_out():
            self._stack.close()

    @contextmanager
    def _leaving_out(self) -> Iterator[None]:
        try:
            yield
        except VideoError as error:
            self.leave_out(error)
