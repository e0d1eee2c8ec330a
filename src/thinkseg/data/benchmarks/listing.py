"""Files of expressions, which most benchmarks write alike: JSON in, `Video`s and `Expression`s out.

    {"videos": {"<video>": {"frames": ["00000", ...], "expressions": {"<id>": {"exp": "the cat", ...}}}}}

A loader says how one expression is read. Walking through the file, checking names, and passing over what is broken
happen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode

Listing = tuple[dict[str, Video], tuple[Expression, ...]]
"""Videos by id, and the expressions about them."""


def video_entry(node: JsonNode) -> Video:
    """A video by its entry: {"frames": ["00000", ...]}, and "height" and "width" where they are stated."""
    size_wh = (node["width"].whole(), node["height"].whole()) if "width" in node and "height" in node else None
    return Video(node.key_name(nested=True), frame_names(node["frames"]), size_wh)


def expression_entries(node: JsonNode) -> Iterable[JsonNode]:
    """The entries of the expressions about a video, where they are the fields of "expressions"."""
    return node["expressions"].values()


def frame_names(node: JsonNode) -> tuple[str, ...]:
    """The names of a video's frames, of which there must be one and no two alike."""
    names = tuple(entry.name() for entry in node.items())
    if not names:
        raise node.flaw("field", "lists no frame")
    if len(set(names)) < len(names):
        raise node.flaw("field", "lists a frame twice")
    return names


def identities(node: JsonNode) -> tuple[str, ...]:
    """A list of ids, each once."""
    return tuple(dict.fromkeys(entry.identity() for entry in node.items()))


def prediction_folder(video: Video, entry: JsonNode) -> str:
    """<video>/<expression>, where nearly all benchmarks look for predicted masks."""
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

    read_expression: reads one expression, an entry with its id as key.
    read_video: reads a video's entry. expressions_of: gives the entries of the expressions about it.
    Raises TreeError for the first flaw, unless `issues` may be passed over.
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
