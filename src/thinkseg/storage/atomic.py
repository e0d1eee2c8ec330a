"""Files and folders that appear under their names only when they are complete, also after a power loss."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinkseg.storage.locks import locked


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which replaces the file `path` when the block ends, or is deleted if it raises.

    Waits for another process that writes the same file. Raises OSError.
    """
    with locked(partial_path(path), path, wait=True) as file:
        yield partial_path(path)
        os.fsync(file.fileno())
        os.replace(partial_path(path), path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder, which is renamed to `path` when the block ends, or deleted if it raises.

    For a name that does not exist yet, in a folder that no other process writes to. Raises OSError.
    """
    partial = partial_path(path)
    delete(partial)
    try:
        partial.mkdir(parents=True)
        yield partial
        sync(partial)
        partial.rename(path)
    finally:
        delete(partial)


def partial_path(path: Path) -> Path:
    """Returns the temporary name of an incomplete file or folder."""
    return path.parent / f".{path.name}.partial"


def write_json(value: Any, path: Path) -> None:
    """Writes a JSON value, with non-ASCII characters as they are."""
    # Lone surrogates, as in file names that are not UTF-8, become escapes, which JSON accepts.
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace")


def replace_json(value: Any, path: Path) -> None:
    """Writes a JSON value to a file atomically."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def sync(folder: Path) -> None:
    """Waits until all files below a folder are on the disk: without it, a power loss leaves renamed files empty."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def delete(path: Path) -> None:
    """Deletes a file or a folder, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
