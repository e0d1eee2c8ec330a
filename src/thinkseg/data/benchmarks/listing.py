"""Reads the files of expressions that most benchmarks share.

    {"videos": {"<video>": {"frames": ["00000", ...], "expressions": {"<id>": {"exp": "the cat", ...}}}}}

A loader passes a function that reads one expression. This module iterates over the file, checks names, and skips
invalid entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode

Listing = tuple[dict[str, Video], tuple[Expression, ...]]
"""Videos by id, and their expressions."""


def video_entry(node: JsonNode) -> Video:
    """Reads the entry of a video: {"frames": ["00000", ...]}, with optional "height" and "width"."""
    size_wh = (node["width"].integer(), node["height"].integer()) if "width" in node and "height" in node else None
    return Video(node.key_name(nested=True), frame_names(node["frames"]), size_wh)


def expression_entries(node: JsonNode) -> Iterable[JsonNode]:
    """Returns the fields of "expressions"."""
    return node["expressions"].values()


def frame_names(node: JsonNode) -> tuple[str, ...]:
    """Reads the names of a video's frames: at least one, all different."""
    names = tuple(entry.name() for entry in node.items())
    if not names:
        raise node.error("invalid_field", "must list at least one frame")
    if len(set(names)) < len(names):
        raise node.error("invalid_field", "must not list a frame twice")
    return names


def unique_ids(node: JsonNode) -> tuple[str, ...]:
    """Reads a list of ids and drops repetitions."""
    return tuple(dict.fromkeys(entry.id_text() for entry in node.items()))


def prediction_folder(video: Video, entry: JsonNode) -> str:
    """Returns <video>/<expression>, the folder of predicted masks in most benchmarks."""
    return f"{video.id}/{entry.key_name()}"


def read_listing(
    videos: Iterable[JsonNode],
    read_expression: Callable[[Video, JsonNode], Expression],
    issues: DatasetIssues,
    *,
    read_video: Callable[[JsonNode], Video] = video_entry,
    expressions_of: Callable[[JsonNode], Iterable[JsonNode]] = expression_entries,
) -> Listing:
    """Reads the entries of videos, each with its id as key.

    read_expression: reads the entry of an expression, with its id as key.
    read_video: reads the entry of a video. expressions_of: returns the entries of its expressions.
    Raises DatasetFileError for the first issue, unless `issues` counts them.
    """
    found: dict[str, Video] = {}
    expressions: list[Expression] = []
    for node in videos:
        with issues.skipping():
            video = found[node.key_name(nested=True)] = read_video(node)
            for entry in expressions_of(node):
                with issues.skipping():
                    expressions.append(read_expression(video, entry))
    return found, tuple(expressions)


def first_existing(*paths: Path) -> Path:
    """Returns the first path that exists, or the first: files whose place differs between releases."""
    return next(filter(os.path.exists, paths), paths[0])
