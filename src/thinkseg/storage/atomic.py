"""Files and folders that appear under their names once they are complete."""

from __future__ import annotations

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
"""File that lists what a result consists of: a folder with anything else in it is never replaced."""


def check_out(out: Path) -> None:
    """Raises SettingsError if `result_folder` could not give a folder this name. Writes nothing."""
    check_writable(out)
    if out.is_dir():
        _check_ours(out.absolute())
    # It is written beside its place, and moved there.
    _check_access(out, out.absolute().parent)


def check_writable(out: Path) -> None:
    """Raises SettingsError if there can be no folder `out`, or none that can be written to. Writes nothing."""
    with _naming(out):
        if out.exists() and not out.is_dir():
            raise SettingsError(f"{out} is a file: choose a folder for the results")
    _check_access(out, out.absolute())


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """An empty folder to write a result in; it becomes `out` when the block ends, and vanishes if that fails.

    An earlier result in `out` is replaced then. Raises SettingsError if `out` holds anything else or cannot be written.
    """
    check_out(out)
    path = out.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _naming(out):
            partial.mkdir(parents=True)
            yield partial
            entries = sorted(entry.name for entry in partial.iterdir())
            write_json({"thinkseg": __version__, "entries": entries}, partial / STAMP)
            _replace(path, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(value: Any, path: Path) -> None:
    """Writes plain JSON values, in readable letters."""
    # What is not Unicode, as in names of files from elsewhere, becomes an escape, which JSON understands.
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")


@contextmanager
def _naming(out: Path) -> Iterator[None]:
    """Turns what the file system refuses into an error that names the folder asked for."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"cannot write results to {out} ({error.strerror}): choose another folder") from error


def _check_access(out: Path, path: Path) -> None:
    """Raises SettingsError, about `out`, if a folder `path` cannot be made or written to."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "is not writable" if there.is_dir() else "is a file"
        raise SettingsError(f"cannot write results to {out} ({there} {why}): choose another folder")


def _check_ours(path: Path) -> None:
    """Raises SettingsError unless a folder is empty or holds one earlier result and nothing else."""
    there = {entry.name for entry in path.iterdir()}
    if not there:
        return
    try:
        ours = {STAMP, *json.loads((path / STAMP).read_text("utf-8"))["entries"]}
    except (OSError, ValueError, TypeError, KeyError):
        ours = set()
    if foreign := sorted(there - ours):
        raise SettingsError(
            f"{path} holds {foreign[0]}, which is not from an earlier result: choose an empty or a new folder"
        )


def _replace(path: Path, fresh: Path) -> None:
    """Gives a complete folder its name. What had the name goes only after, and returns if that fails."""
    if not path.exists():
        fresh.rename(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def replace_json(value: Any, path: Path) -> None:
    """Writes plain JSON values as a file that is there in full or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` if all goes well: that is there in full or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turns what the file system refuses into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"cannot keep results in {out} ({error.strerror}): choose another folder") from error
