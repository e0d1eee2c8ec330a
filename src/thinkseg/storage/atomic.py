"""Files and folders that appear under their names only when they are complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinkseg import __version__
from thinkseg.errors import SettingsError

STAMP = ".thinkseg"
"""File that lists the entries of a result folder. A folder with other entries is never replaced."""

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOLCK}
"""Errors that only writing and locking raise. They are raised without a file name."""


def check_out(out: Path) -> None:
    """Raises SettingsError if `result_folder` cannot create or replace the folder `out`. Writes nothing."""
    check_writable(out)
    if out.is_dir():
        _check_replaceable(out.absolute())
    # The result is written next to `out` and then renamed.
    _check_access(out, out.absolute().parent)


def check_writable(out: Path) -> None:
    """Raises SettingsError if the folder `out` cannot be created or written to. Writes nothing."""
    with writing(out):
        if out.exists() and not out.is_dir():
            raise SettingsError(f"{out} is a file: choose a folder for the results")
    _check_access(out, out.absolute())


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder, which is renamed to `out` when the block ends, or deleted if the block raises.

    An earlier result in `out` is replaced. Raises SettingsError if `out` has other entries or cannot be written.
    """
    check_out(out)
    path = out.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(out):
            partial.mkdir(parents=True)
            yield partial
            entries = sorted(entry.name for entry in partial.iterdir())
            write_json({"thinkseg": __version__, "entries": entries}, partial / STAMP)
            _replace(path, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(value: Any, path: Path) -> None:
    """Writes a JSON value, with non-ASCII characters as they are."""
    # Lone surrogates, as in file names that are not UTF-8, become escapes, which JSON accepts.
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")


def replace_json(value: Any, path: Path) -> None:
    """Writes a JSON value to a file atomically."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which replaces the file `path` when the block ends, or is deleted if it raises."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Converts an OSError about the output path `out` to a SettingsError. Other errors of the block propagate."""
    try:
        yield
    except OSError as error:
        if not _concerns(error, out):
            raise
        raise SettingsError(f"cannot write results to {out} ({error.strerror}): choose another folder") from error


def _concerns(error: OSError, out: Path) -> bool:
    """Returns whether an error is about `out`, a path in or above it, or one of its temporary siblings."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return error.errno in _WRITE_ERRORS
    place, path = (Path(os.path.realpath(os.fsdecode(name))) for name in (out, error.filename))
    is_sibling = path.parent == place.parent and path.name.lstrip(".").startswith(f"{place.name}.")
    return is_sibling or path == place or place in path.parents or path in place.parents


def _check_access(out: Path, path: Path) -> None:
    """Raises SettingsError, with `out` in its message, if a folder `path` cannot be created or written to."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "is not writable" if existing.is_dir() else "is a file"
        raise SettingsError(f"cannot write results to {out} ({existing} {reason}): choose another folder")


def _check_replaceable(path: Path) -> None:
    """Raises SettingsError unless a folder is empty or its entries are those of an earlier result."""
    entries = {entry.name for entry in path.iterdir()}
    if not entries:
        return
    try:
        expected = {STAMP, *json.loads((path / STAMP).read_text("utf-8"))["entries"]}
    except (OSError, ValueError, TypeError, KeyError):
        expected = set()
    if foreign := sorted(entries - expected):
        raise SettingsError(
            f"{path} has {foreign[0]!r}, which no earlier result wrote: choose an empty or a new folder"
        )


def _replace(path: Path, complete: Path) -> None:
    """Renames a complete folder to `path`. The old folder is deleted after that, or restored if renaming fails."""
    if not path.exists():
        complete.rename(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(old)
    try:
        complete.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)
