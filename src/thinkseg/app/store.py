"""Videos and questions on disk, within a quota.

    videos/ID/      entry.json (facts), video (the file as it was uploaded), frames/ (JPEGs made on demand)
    questions/ID/   entry.json (facts), events.json, and what `answering` writes; exports/

Ids are random; a name that a client gives is a fact and never a path. Facts are read once, at the start. When there is
no room, the entries that were used least recently are deleted, a video with the questions about it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thinkseg.storage.atomic import delete, replace_json
from thinkseg.web.errors import RequestError

Kind = Literal["videos", "questions"]

ENTRY, VIDEO, EVENTS = "entry.json", "video", "events.json"


@dataclass(slots=True, eq=False)
class Entry:
    """A video or a question. facts: JSON values. bytes: on disk. used: Unix time. kept: is not deleted for room."""

    id: str
    kind: Kind
    folder: Path
    facts: dict[str, Any]
    bytes: int = 0
    used: float = field(default_factory=time.time)
    kept: bool = False

    def write(self) -> None:
        """Writes the facts."""
        replace_json(self.facts, self.folder / ENTRY)
        self.measure()

    def measure(self) -> None:
        """Counts the bytes on disk again."""
        self.bytes = folder_bytes(self.folder)


class Store:
    """The entries in a folder that exists, and that no other process writes to.

    busy: whether an entry is in use, and is not deleted for room. Raises OSError.
    """

    def __init__(self, folder: Path, quota_bytes: int, busy: Callable[[Entry], bool] = lambda _: False) -> None:
        self.busy = busy
        self._folder, self._quota = folder, quota_bytes
        self._reserved = 0
        for kind in ("videos", "questions"):
            (folder / kind).mkdir(exist_ok=True)
        self._entries = {entry.id: entry for kind in ("videos", "questions") for entry in _read(folder / kind, kind)}
        for entry in self.questions():
            if entry.facts["video"] not in self._entries:
                self.remove(entry)

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(entry.bytes for entry in self._entries.values())

    def videos(self) -> list[Entry]:
        """Returns all videos, the newest first."""
        return self._of("videos")

    def questions(self, video: str | None = None) -> list[Entry]:
        """Returns all questions, or those about a video, the newest first."""
        return [entry for entry in self._of("questions") if video in (None, entry.facts["video"])]

    def _of(self, kind: Kind) -> list[Entry]:
        entries = [entry for entry in self._entries.values() if entry.kind == kind]
        return sorted(entries, key=lambda entry: -entry.facts["created"])

    def find(self, kind: Kind, identity: str) -> Entry:
        """Returns an entry, which counts as used now. Raises RequestError (404) if there is none."""
        entry = self._entries.get(identity)
        if entry is None or entry.kind != kind:
            raise RequestError(404, f"there is no {kind[:-1]} {identity}; it may have expired")
        entry.used = time.time()
        return entry

    def new_folder(self, kind: Kind) -> Path:
        """Returns a new empty folder, which becomes an entry with `add`."""
        folder = self._folder / kind / secrets.token_hex(16)
        folder.mkdir()
        return folder

    def add(self, folder: Path, kind: Kind, facts: dict[str, Any], kept: bool = False) -> Entry:
        """Makes an entry of a folder."""
        entry = Entry(folder.name, kind, folder, {"id": folder.name, "created": time.time(), **facts}, kept=kept)
        entry.write()
        self._entries[entry.id] = entry
        return entry

    def remove(self, entry: Entry) -> None:
        """Deletes an entry; with a video, the questions about it."""
        for question in self.questions(entry.id) if entry.kind == "videos" else []:
            self.remove(question)
        self._entries.pop(entry.id, None)
        delete(entry.folder)

    @contextmanager
    def reserving(self, num_bytes: int) -> Iterator[None]:
        """Keeps room for bytes that are going to be written. Raises RequestError (507) if there is not enough."""
        self._reserved += num_bytes
        try:
            self.make_room()
            yield
        finally:
            self._reserved -= num_bytes

    def make_room(self) -> None:
        """Deletes entries until all fits into the quota. Raises RequestError (507) if it cannot."""
        removable = sorted((entry for entry in self._entries.values() if not entry.kept), key=lambda one: one.used)
        for entry in removable:
            if self.used_bytes + self._reserved <= self._quota:
                return
            if entry.id in self._entries and not self._in_use(entry):
                self.remove(entry)
        if self.used_bytes + self._reserved > self._quota:
            raise RequestError(507, f"no room: {self._quota:,} bytes may be kept; delete videos, or raise --quota")

    def _in_use(self, entry: Entry) -> bool:
        return any(map(self.busy, [entry, *self.questions(entry.id)]))


def file_title(video: Entry) -> str:
    """Returns what a video is called in results and file names: letters, digits, "_" and "-" of the client's name."""
    return re.sub(r"[^\w-]+", "-", Path(video.facts["name"]).stem)[:60].strip("-") or VIDEO


def _read(folder: Path, kind: Kind) -> Iterator[Entry]:
    """Yields the entries in a folder. Those that were interrupted are deleted."""
    for path in folder.iterdir():
        try:
            facts = json.loads((path / ENTRY).read_text("utf-8"))
            entry = Entry(path.name, kind, path, facts, used=(path / ENTRY).stat().st_mtime)
            valid = facts["id"] == path.name and float(facts["created"]) >= 0
        except (OSError, ValueError, TypeError, KeyError):
            valid = False
        if valid:
            entry.kept = bool(facts.get("queries"))
            entry.measure()
            yield entry
        else:
            delete(path)


def folder_bytes(folder: Path) -> int:
    """Returns the bytes of all files in a folder."""
    return sum(
        os.stat(os.path.join(path, name), follow_symlinks=False).st_size
        for path, _, names in os.walk(folder)
        for name in names
    )
