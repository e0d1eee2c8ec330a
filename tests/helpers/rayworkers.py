"""A worker of a script for processes of Ray. Here, because what Ray pickles must be importable there."""

import os
import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinkseg.errors import ModelError


def die() -> None:
    """Ends this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@dataclass
class Script:
    """A worker, and what makes it. Items are texts such as "a/1", of the video "a".

    folder: where it notes each item that it begins. Items of `deadly` end its process, the first `deaths` times, once
    the results before them are in `taken`, for those on their way die with it.
    """

    folder: Path
    deadly: tuple[str, ...] = ()
    deaths: int = 99
    broken: tuple[str, ...] = ()
    start: str = ""

    @property
    def settings(self) -> dict[str, str]:
        return {"model": "script"}

    @property
    def taken(self) -> Path:
        """Where whoever takes a result creates a file with the name of its item."""
        return self.folder.with_name(f"{self.folder.name}-taken")

    def __call__(self) -> "Script":
        if self.start == "die":
            die()
        if self.start:
            raise ModelError(self.start)
        return self

    def answer(self, items: Sequence[str]) -> Generator[tuple[str, str], None, None]:
        for position, item in enumerate(items):
            note = self.folder / file_name(item)
            earlier = len(note.read_text()) if note.exists() else 0
            note.write_text("." * (earlier + 1))
            if item in self.deadly and earlier < self.deaths:
                while not all((self.taken / file_name(one)).exists() for one in items[:position]):
                    time.sleep(0.01)
                die()
            if item in self.broken:
                raise ModelError(f"{item}: cannot be answered")
            yield item, f"{item} by {os.getpid()}"


def file_name(item: str) -> str:
    return item.replace("/", "-")


def video_of(item: str) -> str:
    return item.partition("/")[0]
