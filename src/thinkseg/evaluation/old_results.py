"""Rows of results.jsonl, including those of version 0.1.0, which have other keys.

This serves one release; then `thinkseg.storage.run_folder.read_rows` takes its place.
"""

from __future__ import annotations

from pathlib import Path

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
    rows = map(converted, read_rows(folder / ROWS).values())
    return {row["id"]: row for row in rows}


def converted(row: Row) -> Row:
    """Returns a row with today's keys."""
    row = {KEYS.get(key, key): value for key, value in row.items()}
    if row.get("failure") in FAILURES:
        row["failure"] = FAILURES[row["failure"]]
    if tokens := row.pop("tokens", None):
        row["usage"] = {"prompt_tokens": tokens["read"], "completion_tokens": tokens["written"]}
    if "video" not in row and "has_target" in row:
        # A sample of the shapes world was not yet an expression of a video.
        is_empty = row["failure"] is None and row["keyframe"] is None
        row |= {"id": f"{row['id']}/0", "video": row["id"], "is_empty": is_empty}
    return row
