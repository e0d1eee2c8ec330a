"""Locks on files, which hold across processes and containers. The system releases the locks of a process that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from weakref import WeakSet

from thinkseg.errors import SettingsError

LOCK = ".lock"
"""Name of the file in a folder that its user locks."""

_held: WeakSet[IO[bytes]] = WeakSet()


@contextmanager
def locked(path: Path, subject: Path, wait: bool = False) -> Iterator[IO[bytes]]:
    """Creates a file and locks it during the block. The file is deleted at the end, or earlier renamed by the block.

    subject: what the lock is for, for the error. wait: for another process that has the lock.
    Raises SettingsError if another process has the lock, and OSError.
    """
    try:
        file = _open_locked(path, wait)
    except BlockingIOError:
        raise SettingsError(f"{subject} is in use by another run: wait for it, or choose another folder") from None
    _held.add(file)
    with file:
        try:
            yield file
        finally:
            if _is_at(file, path):
                path.unlink()


def _open_locked(path: Path, wait: bool) -> IO[bytes]:
    import fcntl

    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        # Its last owner deleted or renamed the file after it was opened here.
        file.close()


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _close_all() -> None:
    for file in _held:
        file.close()


# A lock is held as long as any process has the file open, and loader processes may outlive a killed one.
os.register_at_fork(after_in_child=_close_all)
