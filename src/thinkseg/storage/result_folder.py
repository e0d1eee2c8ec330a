"""Folders that a command writes as a whole, and replaces as a whole when it is run again.

    .thinkseg            lists the entries of the result; a folder with other entries is never replaced
    .thinkseg.new/       the result while it is written
    .thinkseg.complete/  the complete result while its entries are renamed into the folder
    .thinkseg.old/       entries of the earlier result until they are deleted

The folder itself is never renamed, so it may be a mount point. The earlier result counts until the rename to
.thinkseg.complete, and the new one from then on: after a kill, the next command that uses the folder renames the
remaining entries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinkseg import __version__
from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import delete, sync, write_json
from thinkseg.storage.locks import LOCK
from thinkseg.storage.outputs import claimed

STAMP, NEW, COMPLETE, OLD = ".thinkseg", ".thinkseg.new", ".thinkseg.complete", ".thinkseg.old"

_OTHERS = {STAMP, LOCK, "lost+found"}
"""Entries that are no results and stay. File systems have the last one at their root."""


def check_out(out: Path, *others: Path) -> None:
    """Raises SettingsError if `result_folder` cannot create or replace the folder `out`. Leaves nothing.

    others: files and folders that are used as well, and must not be in `out`.
    """
    with claimed(out):
        path = _real(out)
        for other in others:
            if path in (_real(other), *_real(other).parents):
                raise SettingsError(f"{other} is in {out}, which the results replace: choose another folder")
        _prepare(path)


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """Yields an empty folder, whose entries are moved to `out` when the block ends, or deleted if it raises.

    An earlier result in `out` is replaced. Waits for another process that writes to `out`.
    Raises SettingsError if `out` has other entries or cannot be written.
    """
    with claimed(out, wait=True):
        path = _real(out)
        _prepare(path)
        try:
            (path / NEW).mkdir()
            yield path / NEW
            _complete(path)
        finally:
            delete(path / NEW)


def finish_interrupted(out: Path) -> None:
    """Completes a result that was interrupted while it replaced an earlier one."""
    if (out / COMPLETE).is_dir():
        with claimed(out):
            _prepare(out)


def _prepare(path: Path) -> None:
    """Ends what an interrupted command began. Raises SettingsError if the folder has entries that are no results."""
    if (path / COMPLETE).is_dir():
        _publish(path)
    for name in (NEW, OLD):
        delete(path / name)
    _check_replaceable(path)


def _check_replaceable(path: Path) -> None:
    entries, num_files = _read_stamp(path)
    if foreign := sorted({entry.name for entry in path.iterdir()} - _OTHERS - set(entries)):
        raise SettingsError(
            f"{path} has {foreign[0]!r}, which no earlier result wrote: choose an empty or a new folder"
        )
    if num_files is not None and (added := _count_files(path) - num_files) > 0:
        raise SettingsError(f"{path} has {added} files that no earlier result wrote: choose an empty or a new folder")


def _read_stamp(folder: Path) -> tuple[list[str], int | None]:
    """Returns the names of the entries of a result, and the number of files in them if it is known."""
    try:
        stamp = json.loads((folder / STAMP).read_text("utf-8"))
        return list(stamp["entries"]), stamp.get("files")
    except (OSError, ValueError, TypeError, KeyError):
        return [], None


def _count_files(folder: Path) -> int:
    """Returns the number of files in all entries of a result."""
    entries = [entry for entry in folder.iterdir() if entry.name not in _OTHERS]
    below = sum(len(files) for entry in entries for _, _, files in os.walk(entry))
    return below + sum(not entry.is_dir() for entry in entries)


def _complete(path: Path) -> None:
    """Replaces the earlier result by the new one."""
    new = path / NEW
    entries = sorted(entry.name for entry in new.iterdir())
    write_json({"thinkseg": __version__, "entries": entries, "files": _count_files(new)}, new / STAMP)
    sync(new)
    new.rename(path / COMPLETE)
    try:
        _publish(path)
    except KeyboardInterrupt:
        _publish(path)
        raise


def _publish(path: Path) -> None:
    """Renames the entries of the complete result into the folder. After an interruption, it continues."""
    complete, old = path / COMPLETE, path / OLD
    old.mkdir(exist_ok=True)
    if (complete / STAMP).exists():
        earlier, new = _read_stamp(path)[0], _read_stamp(complete)[0]
        for name in {entry.name for entry in path.iterdir()}.intersection(earlier).difference(new):
            _set_aside(path / name, old)
        for entry in [entry for entry in complete.iterdir() if entry.name != STAMP]:
            _set_aside(path / entry.name, old)
            entry.rename(path / entry.name)
        (complete / STAMP).replace(path / STAMP)
    complete.rmdir()
    delete(old)


def _set_aside(entry: Path, old: Path) -> None:
    """Moves an entry of the earlier result away. Overlay file systems cannot rename some folders: they are deleted."""
    try:
        entry.rename(old / entry.name)
    except OSError:
        delete(entry)


def _real(path: Path) -> Path:
    """Returns an absolute path without links. `Path.resolve` raises for a circle of links."""
    return Path(os.path.realpath(path))
