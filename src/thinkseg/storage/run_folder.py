"""A folder of results of a run that can be interrupted at any moment and resumed.

    settings.json   settings of the run; a folder has the results of one setting only. Its "fingerprints" are those of
                    what the run read, such as the weights of its models (`thinkseg.storage.fingerprint`)
    results.jsonl   one row per line, appended when it is known
    scores.json     metrics of all rows, written at the end

A last line that is incomplete is dropped, and its row computed again; so are lines with NUL bytes, which a power loss
can leave. The other files are written atomically. A run locks its folder; the lock of a run that was killed is
released, whatever became of its worker processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from thinkseg.console import warn
from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replace_json, replacing
from thinkseg.storage.fingerprint import Fingerprints, changed_parts, first_change
from thinkseg.storage.outputs import claimed, writing
from thinkseg.storage.result_folder import check_no_result
from thinkseg.types import RENAMED_COORDINATES

Row = dict[str, Any]
"""Results of one expression, as plain JSON values with the key "id".

A row with the key "object" is about one object of a video whose objects are scored together.
"""

RECORDED = ("device", "precision")
"""Settings that are recorded but not compared: where a model runs is no property of its results."""

FINGERPRINTS = "fingerprints"
"""Key of settings.json."""

SETTINGS, ROWS, SCORES = "settings.json", "results.jsonl", "scores.json"

LOG = "log.jsonl"
"""Name of the log of a training run: one JSON object per logged step."""


class ResultFolder:
    """The folder `out`, created if missing, for results of one setting. A context manager that locks the folder.

    settings: plain JSON values, with "fingerprints". name: of the file of rows.
    rows: by id, those of earlier runs included.
    Raises SettingsError if the folder cannot be written, has results of other settings, or is in use by another run.
    A folder of an earlier version has no fingerprints: it gets them, and a line on standard error.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], name: str = ROWS) -> None:
        self.out = out
        self._path = out / name
        with ExitStack() as undo, writing(out):
            undo.enter_context(claimed(out))
            check_no_result(out)
            self._check_settings(settings)
            _drop_damaged_lines(self._path)
            self.rows = read_rows(self._path)
            self._claim = undo.pop_all()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._claim.close()

    def add(self, row: Row) -> None:
        """Appends a row. It is on the disk when the call returns, so that a power loss does not lose it."""
        with writing(self.out):
            _append_line(json.dumps(row).encode(), self._path)
        self.rows[row["id"]] = row

    def check_rows(self, fingerprint_of: Callable[[str], Mapping[str, str] | None]) -> None:
        """Raises SettingsError if a row is about data that have changed since.

        fingerprint_of: returns the fingerprints of a row's data by its id; None for an id that the data do not have.
        They are stored as the row's "fingerprint"; a row of an earlier version gets it.
        """
        completed = dict(self.rows)
        for name, row in self.rows.items():
            if (now := fingerprint_of(name)) is None:
                continue
            completed[name] = {"fingerprint": now, **row}
            if changed := changed_parts(completed[name]["fingerprint"], now):
                raise SettingsError(
                    f"{self.out}: the data set is another one, or was changed since ({changed} of {name}): restore"
                    " it, or choose another folder"
                )
        if completed != self.rows:
            self._rewrite(completed)

    def _rewrite(self, rows: dict[str, Row]) -> None:
        with writing(self.out), replacing(self._path) as partial:
            partial.write_text("".join(f"{json.dumps(row)}\n" for row in rows.values()), "utf-8")
        self.rows = rows

    def finish(self, scores: Any) -> None:
        """Writes the metrics of all rows, plain JSON values."""
        with writing(self.out):
            replace_json(scores, self.out / SCORES)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes the settings of a new folder. Raises SettingsError if the folder has other ones."""
        path = self.out / SETTINGS
        if not path.exists():
            if self._path.exists():
                raise SettingsError(f"{self.out} has results but no {SETTINGS}: choose another folder")
            replace_json(settings, path)
        stored, wanted = read_settings(self.out), json.loads(json.dumps(settings))
        compared = {*stored, *wanted}.difference(RECORDED, [FINGERPRINTS])
        if differing := sorted(key for key in compared if stored.get(key) != wanted.get(key)):
            changes = ", ".join(f"{key} {stored.get(key)!r} -> {wanted.get(key)!r}" for key in differing)
            raise SettingsError(
                f"{self.out} has results of other settings ({changes}): choose another folder, or the earlier settings"
            )
        if FINGERPRINTS not in stored and FINGERPRINTS in wanted:
            warn_unknown_inputs(self.out)
            replace_json({**stored, FINGERPRINTS: wanted[FINGERPRINTS]}, path)
        elif FINGERPRINTS in wanted:
            check_inputs(self.out, stored[FINGERPRINTS], wanted[FINGERPRINTS], wanted)


def check_inputs(out: Path, before: Fingerprints, now: Fingerprints, names: Mapping[str, Any]) -> None:
    """Raises SettingsError if an input of the run in a folder has changed. names: of inputs, for the message."""
    if change := first_change(before, now):
        name, parts = change
        which = f"{name} {names[name]!r}" if name in names else name
        raise SettingsError(
            f"{out}: the {which} changed since its first run ({parts}): restore it, or choose another folder"
        )


def warn_unknown_inputs(out: Path) -> None:
    """Prints that the run in a folder does not say what it read."""
    warn(f"{out}: an earlier version did not record the models, prompts and data of this run; they count as unchanged")


def _append_line(line: bytes, path: Path) -> None:
    """Appends a line to a file. If the disk is full, the file stays as it is."""
    end = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, end)
        raise


def read_settings(out: Path) -> dict[str, Any]:
    """Reads the settings of a folder of results. Raises SettingsError if there are none."""
    path = out / SETTINGS
    try:
        return _renamed(dict(json.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        raise SettingsError(f"{out} has no results ({SETTINGS} is missing): give a folder of results") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): give a folder of results") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path} is not a JSON object: choose another folder") from error


def _renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Renames fields of earlier versions and adds those that they lack, so that their runs can resume."""
    if "asked" in settings:
        settings["category_weights"] = settings.pop("asked")
    view = settings.get("view")
    if isinstance(view, dict) and "clock" in view:
        view["label_unit"] = view.pop("clock")
    if isinstance(view, dict) and view.get("coordinates") in RENAMED_COORDINATES:
        view["coordinates"] = RENAMED_COORDINATES[view["coordinates"]]
    if {"chain", "policy", "tracker"} <= settings.keys():
        # Evaluations read replies strictly, before there was a choice.
        settings.setdefault("reading", "strict")
    if "tells_boxes" in settings:
        settings["boxes_in_thinking"] = settings.pop("tells_boxes")
    return settings


def read_rows(path: Path) -> dict[str, Row]:
    """Reads the complete lines of a results.jsonl as rows by id; {} if there is no file. The last row of an id counts.

    Raises SettingsError for a line that is not a row.
    """
    rows: dict[str, Row] = {}
    for number, line in enumerate(_lines(path), start=1):
        if _is_damaged(line):
            continue
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise SettingsError(f"{path}, line {number}: not a row; delete the line to compute it again") from error
    return rows


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        return list(file)


def _is_damaged(line: bytes) -> bool:
    """Whether a line is incomplete or was not stored before a power loss, which leaves NUL bytes. JSON has none."""
    return not line.endswith(b"\n") or b"\0" in line


def _drop_damaged_lines(path: Path) -> None:
    lines = _lines(path)
    intact = [line for line in lines if not _is_damaged(line)]
    if len(intact) < len(lines):
        with replacing(path) as partial:
            partial.write_bytes(b"".join(intact))
