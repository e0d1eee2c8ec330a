"""Which questions are asked about which videos, and the id of each, which names the folder of its result.

Videos and queries come from the command line or from a file (CSV or JSON Lines). Everything is checked before a video
is opened.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from thinkseg.chains.frames import checked_query
from thinkseg.data.readers.json_tree import JsonNode, read_bytes, read_lines
from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.frame_folder import frame_files, video_files
from thinkseg.storage.run_folder import ROWS, SCORES, SETTINGS

INDEX = "index.csv"
"""Table of the results of many questions, beside their folders."""

FIELDS = ("video", "query", "id")
"""Columns of a CSV file of questions, and fields of a line of JSON. All but the query can be left out."""

_ID = re.compile(r"\w([\w .+-]{0,98}[\w+-])?")
_RESERVED = (INDEX, SETTINGS, ROWS, SCORES)
_MAX_STEM = 80
"""Characters of the name of a video in an id."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query about a video, a file or a folder of images. id: unique, and safe as the name of a folder."""

    id: str
    video: Path
    query: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A query that is asked. where: it stands. video, id: None if they are not given."""

    where: str
    query: str
    video: Path | None = None
    id: str | None = None


def questions_about(videos: Sequence[Path], queries: Sequence[str], file: Path | None = None) -> list[Question]:
    """Returns all questions, those about a video together, in the order in which the videos are named.

    videos: files, folders of images, or folders of video files, each of which is a video.
    queries: asked about each of these videos. file: of questions, with the columns `FIELDS`: about videos of its own,
        whose paths start at its folder, or about each of `videos`.
    Raises SettingsError, VideoError or DatasetError for a path that does not exist, a folder of images and videos, an
    invalid file, and where it is unclear which videos or queries are meant.
    """
    rows = [_Row("--query", checked_query(query)) for query in queries] + (_read_rows(file) if file else [])
    if not rows:
        raise SettingsError(f"{file or '--query'}: has no question; say what to segment")
    if any(row.video for row in rows):
        pairs = _own_videos(videos, rows)
    else:
        listed = list(dict.fromkeys(chain.from_iterable(map(expanded, videos))))
        if not listed:
            raise SettingsError("VIDEO: is missing; name the videos that the queries are about")
        pairs = [(video, row) for video in listed for row in rows]
    return _with_ids(pairs, ids_are_unique=len({video for video, _ in pairs}) == 1 or any(row.video for row in rows))


def expanded(path: Path) -> list[Path]:
    """Returns the videos that a path stands for: the video files in a folder, or itself.

    Raises VideoError if it does not exist, or is a folder that holds neither videos nor one series of images.
    """
    if not os.path.exists(path):
        raise VideoError(f"{path} does not exist; give a video file, or a folder of images or of video files")
    if not os.path.isdir(path):
        return [path]
    videos = video_files(path)
    if not videos:
        frame_files(path)  # raises VideoError if they are no frames
    return videos or [path]


def _own_videos(videos: Sequence[Path], rows: Sequence[_Row]) -> list[tuple[Path, _Row]]:
    """Returns rows with the videos that they name, those about a video together."""
    if videos:
        raise SettingsError(f"VIDEO: {videos[0]} is given, and --queries names videos; give them in one place")
    groups: dict[Path, list[_Row]] = {}
    for row in rows:
        if row.video is None:
            raise SettingsError(f"{row.where}: names no video, as other rows do; add it")
        if not os.path.exists(row.video):
            raise SettingsError(f"{row.where}: {row.video} does not exist; paths start at the folder of the file")
        groups.setdefault(row.video, []).append(row)
    return [(video, row) for video, group in groups.items() for row in group]


def _with_ids(pairs: Sequence[tuple[Path, _Row]], ids_are_unique: bool) -> list[Question]:
    """Returns questions with ids: those of their rows, else the name of the video and the number of the query about it.

    ids_are_unique: an id of a row is that of one question, and not of one per video.
    """
    taken: dict[str, str] = {}
    if ids_are_unique:
        for _, row in pairs:
            if row.id and (other := taken.setdefault(row.id.casefold(), row.where)) != row.where:
                raise SettingsError(f"{row.where}: id {row.id!r} is that of {other}, too; give each its own")
    questions, numbers = list[Question](), dict[Path, int]()
    for video, row in pairs:
        numbers[video] = numbers.get(video, 0) + 1
        name = row.id if ids_are_unique else None
        if name is None:
            name = _free(f"{_safe_stem(video)}-{row.id or numbers[video]}", taken)
        questions.append(Question(name, video, row.query))
    return questions


def _free(name: str, taken: dict[str, str]) -> str:
    """Returns a name that no other question has, and takes it."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    free = next(name for name in names if name.casefold() not in taken)
    taken[free.casefold()] = free
    return free


def _safe_stem(video: Path) -> str:
    """Returns the name of a video without its suffix, with other characters in place of unsafe ones."""
    stem = re.sub(r"[^\w.+-]", "_", Path(os.path.abspath(video)).stem)[:_MAX_STEM]
    return stem if stem[:1].isalnum() else f"video_{stem}"


def _read_rows(file: Path) -> list[_Row]:
    """Reads a file of questions. Raises SettingsError or DatasetError, with the line."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if (reader := readers.get(file.suffix.lower())) is None:
        raise SettingsError(f"{file}: a file of questions is CSV or JSON Lines; give one that ends in .csv or .jsonl")
    return [_row(node, file) for node in reader(file)]


def _row(node: JsonNode, file: Path) -> _Row:
    values = {value.key: value.string().strip() for value in node.values() if value.value is not None}
    if unknown := sorted(str(name) for name in values.keys() - set(FIELDS)):
        raise SettingsError(f"{node.where}: {unknown[0]!r} is unknown; columns are {', '.join(FIELDS)}")
    try:
        query = checked_query(values.get("query", ""))
    except SettingsError as error:
        raise SettingsError(f"{node.where}: {error}") from None
    name, video = values.get("id"), values.get("video")
    if name and (not _ID.fullmatch(name) or name.casefold() in _RESERVED):
        raise SettingsError(
            f"{node.where}: id {name!r} cannot name a folder; give up to 100 letters, digits, '-', '_', '.' and spaces"
        )
    return _Row(node.where, query, file.parent / video if video else None, name or None)


def _json_rows(file: Path) -> Iterator[JsonNode]:
    return (JsonNode(node.value, f"{file}, line {number}") for number, node in read_lines(file))


def _csv_rows(file: Path) -> Iterator[JsonNode]:
    """Yields the rows of a CSV file, whose first line names its columns."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8; save it as CSV in UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in next(rows, [])]
        if "query" not in columns or len(set(columns)) < len(columns) or set(columns) - set(FIELDS):
            raise SettingsError(f"{file}, line 1: must name the columns, query and also video and id, each once")
        for cells in rows:
            if len(cells) > len(columns):
                raise SettingsError(
                    f"{file}, line {rows.line_num}: has {len(cells)} cells for {len(columns)} columns; quote a query"
                    " that has commas"
                )
            if any(cell.strip() for cell in cells):
                yield JsonNode(dict(zip(columns, cells, strict=False)), f"{file}, line {rows.line_num}")
    except csv.Error as error:
        raise SettingsError(f"{file}, line {rows.line_num}: is not CSV ({error}); quote cells with commas") from None
