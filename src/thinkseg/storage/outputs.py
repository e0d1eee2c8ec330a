"""Paths that a user chooses for results: checked before the work starts, with errors that name them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import partial_path
from thinkseg.storage.locks import LOCK, locked

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors that only writing and locking raise. They are raised without a file name."""


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Converts an OSError about the output path `out` to a SettingsError. Other errors of the block propagate.

    Raises SettingsError for a path that no file system can have.
    """
    if not _can_exist(out):
        raise SettingsError(f"{str(out)!r} cannot be a path: choose another one for the results")
    try:
        yield
    except OSError as error:
        if not _concerns(error, out):
            raise
        raise SettingsError(f"cannot write results to {out} ({error.strerror}): choose another folder") from error


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Creates the folder `out` and locks it during the block. Folders that were created and are empty are deleted.

    Raises SettingsError if the folder cannot be written to, or is in use by another process.
    """
    with writing(out), ExitStack() as undo:
        _create(out, undo)
        undo.enter_context(locked(out / LOCK, out))
        yield


def check_folder(out: Path) -> None:
    """Raises SettingsError as `claimed` does. Leaves nothing."""
    with claimed(out):
        pass


def check_file(path: Path) -> None:
    """Raises SettingsError if the file `path` cannot be written, or is being written. Leaves nothing."""
    with writing(path):
        if path.is_dir():
            raise SettingsError(f"{path} is a folder: choose a file name")
        with locked(partial_path(path), path):
            pass


def _can_exist(path: Path) -> bool:
    """Whether a path has neither a NUL character nor surrogates that are no byte of a file name."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _create(out: Path, undo: ExitStack) -> None:
    """Creates a folder and those above it."""
    path = out.absolute()
    missing = []
    while not os.path.isdir(path):
        if os.path.lexists(path):
            kind = "a broken link" if path.is_symlink() else "a file"
            raise SettingsError(f"cannot write results to {out} ({path} is {kind}): choose another folder")
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        undo.callback(_delete_if_empty, folder)


def _delete_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _concerns(error: OSError, out: Path) -> bool:
    """Returns whether an error is about `out`, a path in or above it, or its temporary name."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return error.errno in _WRITE_ERRORS
    place, path = (Path(os.path.realpath(os.fsdecode(name))) for name in (out, error.filename))
    return place in (path, *path.parents) or path in place.parents or path == partial_path(place)
