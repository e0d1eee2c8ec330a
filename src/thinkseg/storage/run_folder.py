"""A folder of results that can be cut off at any moment: rows in, one line each, and read back when work goes on.

    settings.json   what was run; a folder holds the results of one setting only
    results.jsonl   one row a line, written as it is known
    scores.json     what all rows come to, once they are there

A row is a line or it is not: what a cut leaves of a line is dropped, and its work done again. Files but results.jsonl
are there in full or not at all. While one run works in a folder no other can; a run that is killed leaves it free.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replace_json, writing
from thinkseg.types import RENAMED_COORDINATES

Row = dict[str, Any]
"""What is known of one question: plain JSON values, among them its "id".

A row with an "object" is about one object among all of a video, where these are scored together.
"""

SETTINGS, ROWS, SCORES, LOCK = "settings.json", "results.jsonl", "scores.json", ".lock"


class ResultFolder:
    """The folder `out`, made if need be, for results of these settings alone.

    settings: plain JSON values. name: of the file of rows.
    rows: those known so far, by id; what an earlier run left is there from the beginning.
    Raises SettingsError if the folder cannot be written, holds results of other settings, or another run is at work in
    it. To be used in a `with` statement, at whose end others may go on with it.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], name: str = ROWS) -> None:
        self.out = out
        self._path = out / name
        with ExitStack() as undo, writing(out):
            out.mkdir(parents=True, exist_ok=True)
            self._held = undo.enter_context(locked(out))
            self._settle(settings)
            _drop_partial_line(self._path)
            self.rows = read_rows(self._path)
            undo.pop_all()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._held.close()

    def add(self, row: Row) -> None:
        """Keeps a row."""
        with writing(self.out), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[row["id"]] = row

    def finish(self, scores: Any) -> None:
        """Keeps what all rows come to, plain JSON values."""
        with writing(self.out):
            replace_json(scores, self.out / SCORES)

    def _settle(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder one for these settings, or raises SettingsError if it cannot be."""
        path = self.out / SETTINGS
        if not path.exists():
            if self._path.exists():
                raise SettingsError(
                    f"{self.out} holds results but not the settings they came from: choose another folder"
                )
            replace_json(settings, path)
        stored, wanted = read_settings(self.out), json.loads(json.dumps(settings))
        if differing := sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key)):
            changes = ", ".join(f"{key} {stored.get(key)!r} -> {wanted.get(key)!r}" for key in differing)
            raise SettingsError(f"{self.out} holds results of other settings ({changes}): choose another folder")


def locked(out: Path) -> IO[bytes]:
    """A file in a folder that this process alone has locked as long as it is open.

    The system unlocks it however a process ends. Raises SettingsError if another has it.
    """
    import fcntl

    file = (out / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SettingsError(f"another run is at work in {out}: wait for it, or choose another folder") from None
    return file


def read_settings(out: Path) -> dict[str, Any]:
    """What was run in a folder of results. Raises SettingsError if it does not say."""
    path = out / SETTINGS
    try:
        return _renamed(dict(json.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        raise SettingsError(f"{out} holds no results (there is no {SETTINGS}): name a folder that does") from None
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} holds no settings: choose another folder") from error


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Renames fields of earlier versions, so that their runs can resume."""
    view = settings.get("view")
    if isinstance(view, dict) and "clock" in view:
        view["label_unit"] = view.pop("clock")
    if isinstance(view, dict) and view.get("coordinates") in RENAMED_COORDINATES:
        view["coordinates"] = RENAMED_COORDINATES[view["coordinates"]]
    if "tells_boxes" in settings:
        settings["boxes_in_thinking"] = settings.pop("tells_boxes")
    return settings


def read_rows(path: Path) -> dict[str, Row]:
    """The whole lines of a results.jsonl, by id; none if there is no file. Raises SettingsError for other lines."""
    if not path.exists():
        return {}
    rows: dict[str, Row] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                f"{path}, line {number}: not a result; remove the line to do that sample again"
            ) from error
    return rows


def _drop_partial_line(path: Path) -> None:
    """Drops the last line of a file if it was cut off."""
    if not path.exists():
        return
    whole, newline, partial = path.read_bytes().rpartition(b"\n")
    if partial:
        os.truncate(path, len(whole) + len(newline))
