"""Rows of results.jsonl, including those of version 0.1.0, which have other keys.

This serves one release; then `thinkseg.storage.run_folder.read_rows` takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from thinkseg.evaluation.stored_rows import check_row
from thinkseg.storage.run_folder import ROWS, Row, read_rows

KEYS = {
    "target": "has_target",
    "frames": "num_scored_frames",
    "group": "annotation_run",
    "empty": "is_empty",
    "r_visa255": "robustness_visa255",
    "r_area": "robustness_area",
}
"""Keys of a row, old and new."""

FAILURES = {
    "size": "size_mismatch",
    "broken": "unreadable",
    "tags": "invalid_tags",
    "json": "invalid_json",
    "fields": "invalid_fields",
    "boxes": "invalid_boxes",
    "description": "invalid_description",
    "keyframe": "unknown_keyframe",
    "empty_box": "zero_area_box",
    "too_long": "answer_too_long",
    "no_box": "missing_boxes",
    "no_keyframe": "missing_keyframe",
}
"""Values of a row's "failure", old and new."""


def read_results(folder: Path) -> dict[str, Row]:
    """Returns the rows of a folder by id. Raises SettingsError for lines that are no rows."""
    return checked_rows(read_rows(folder / ROWS).values(), folder / ROWS)


def checked_rows(rows: Iterable[Row], path: Path) -> dict[str, Row]:
    """Returns rows with today's keys, by id. Raises SettingsError for an invalid field, see `stored_rows.check_row`."""
    found = {}
    for row in map(converted, rows):
        check_row(row, path)
        found[row["id"]] = row
    return found


def converted(row: Row) -> Row:
    """Returns a row with today's keys."""
    row = {KEYS.get(key, key): value for key, value in row.items()}
    if "failure" in row:
        row["failure"] = FAILURES.get(str(row["failure"]), row["failure"])
    if isinstance(tokens := row.pop("tokens", None), dict):
        row["usage"] = {"prompt_tokens": tokens.get("read"), "completion_tokens": tokens.get("written")}
    if "video" not in row and "has_target" in row:
        # A sample of the shapes world was not yet an expression of a video.
        is_empty = row.get("failure") is None and row.get("keyframe") is None
        row |= {"id": f"{row['id']}/0", "video": row["id"], "annotation_run": "", "is_empty": is_empty}
    return row
