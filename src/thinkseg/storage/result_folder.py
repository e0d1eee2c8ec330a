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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from thinkseg import __version__
from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import delete, sync, write_json
from thinkseg.storage.locks import LOCK
from thinkseg.storage.outputs import claimed

STAMP, NEW, COMPLETE, OLD = ".thinkseg", ".thinkseg.new", ".thinkseg.complete", ".thinkseg.old"

_OTHERS = {STAMP, LOCK, "lost+found"}
"""Entries that are no results and stay. File systems have the last one at their root."""


@contextmanager
def result_folder(out: Path, command: str, *others: Path, extend: bool = False) -> Iterator[Path]:
    """Yields an empty folder, whose entries are moved to `out` when the block ends, or deleted if it raises.

    An earlier result of the same command in `out` is replaced; with `extend`, only entries that are written again.
    others: files and folders that are used as well, and must not be in `out`.
    Raises SettingsError if `out` has other entries, cannot be written, or is in use by another process.
    """
    with claimed(out):
        path = _real(out)
        _prepare(path, command)
        _check_outside(others, out)
        try:
            (path / NEW).mkdir()
            yield path / NEW
            _complete(path, command, extend)
        finally:
            delete(path / NEW)


def check_out(out: Path, command: str) -> None:
    """Raises SettingsError if `result_folder` would. Leaves nothing."""
    with claimed(out):
        _prepare(_real(out), command)


def check_no_result(out: Path) -> None:
    """Raises SettingsError if a folder has a result, which files of another command would spoil."""
    if stamp := _read_stamp(out):
        raise SettingsError(f"{out} has a result of {stamp.command or 'another command'}: choose another folder")


def finish_interrupted(out: Path) -> None:
    """Completes a result that was interrupted while it replaced an earlier one."""
    if os.path.isdir(out / COMPLETE):
        with claimed(out):
            _publish(out)


def _check_outside(others: Iterable[Path], out: Path) -> None:
    for other in others:
        if _real(out) in (_real(other), *_real(other).parents):
            raise SettingsError(f"{other} is in {out}, which the results replace: choose another folder")


def _prepare(path: Path, command: str) -> None:
    """Ends what an interrupted command began. Raises SettingsError if the folder may not be replaced."""
    if (path / COMPLETE).is_dir():
        _publish(path)
    for name in (NEW, OLD):
        delete(path / name)
    _check_replaceable(path, command)


def _check_replaceable(path: Path, command: str) -> None:
    stamp = _read_stamp(path) or _Stamp([])
    if foreign := sorted({entry.name for entry in path.iterdir()} - _OTHERS - set(stamp.entries)):
        wrong = f"{foreign[0]!r}, which no earlier result wrote"
    elif stamp.command not in (None, command):
        wrong = f"a result of {stamp.command}, not of {command}"
    elif stamp.files is not None and (added := _count_files(path.iterdir()) - stamp.files) > 0:
        wrong = f"{added} files that no earlier result wrote"
    else:
        return
    raise SettingsError(f"{path} has {wrong}: choose an empty or a new folder")


@dataclass(frozen=True)
class _Stamp:
    """The content of `STAMP`.

    entries: names. files: number of files in them. command: that wrote them. Version 0.1 had neither of the latter.
    """

    entries: list[str]
    files: int | None = None
    command: str | None = None


def _read_stamp(folder: Path) -> _Stamp | None:
    """Returns None if there is no valid stamp."""
    try:
        content = json.loads((folder / STAMP).read_text("utf-8"))
        return _Stamp([str(name) for name in content["entries"]], content.get("files"), content.get("command"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _count_files(entries: Iterable[Path]) -> int:
    """Returns the number of files in all entries of a result."""
    results = [entry for entry in entries if entry.name not in _OTHERS]
    below = sum(len(files) for entry in results for _, _, files in os.walk(entry))
    return below + sum(not entry.is_dir() for entry in results)


def _complete(path: Path, command: str, extend: bool) -> None:
    """Replaces the earlier result by the new one, or extends it."""
    new = path / NEW
    earlier = (_read_stamp(path) if extend else None) or _Stamp([])
    entries = {name: path / name for name in earlier.entries} | {entry.name: entry for entry in new.iterdir()}
    stamp = _Stamp(sorted(entries), _count_files(entries.values()), command)
    write_json({"thinkseg": __version__, **asdict(stamp)}, new / STAMP)
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
    if new := _read_stamp(complete):
        earlier = _read_stamp(path) or _Stamp([])
        for name in {entry.name for entry in path.iterdir()}.intersection(earlier.entries).difference(new.entries):
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
