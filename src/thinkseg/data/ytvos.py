"""What Ref-YouTube-VOS and the converted Ref-DAVIS17 share: one object an expression, listed in a meta.json.

meta.json           {"videos": {"<video>": {"objects": {"1": {"category": "dog"}}}}}
an expression       {"exp": "a dog on the left", "obj_id": "1"}
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from functools import partial

from thinkseg.data.benchmark import REFERRING, Expression, Video
from thinkseg.data.listing import prediction_folder
from thinkseg.data.tree import Node

MOST_LABELS = 254
"""Objects are numbers from 1 on in label maps of 8 bits, in which 255 means "not annotated"."""


class ObjectIds:
    """A meta.json: which objects a video has."""

    def __init__(self, meta: Node) -> None:
        self._videos = meta["videos"]

    def check(self, video: Video, obj: Node) -> None:
        """Raises TreeError if a video has no object of this id, or is not listed."""
        if video.id not in self._videos or obj.identity() not in self._videos[video.id]["objects"]:
            raise obj.flaw("id", f"names object {obj.identity()}, which {self._videos.where} does not list")


def expression_reader(objects: ObjectIds | None, told: bool) -> Callable[[Video, Node], Expression]:
    """A reader of expressions.

    told: whether they name their targets. objects: ids that there are, where that is known.
    """
    return partial(_read, objects=objects, told=told)


def label_of(obj: Node) -> str:
    """An object's id, checked to be a number that label maps can hold."""
    name = obj.identity()
    if not re.fullmatch("[0-9]{1,3}", name) or not 1 <= int(name) <= MOST_LABELS:
        raise obj.flaw("field", f"must be a number from 1 to {MOST_LABELS}, not {reprlib.repr(name)}")
    return str(int(name))


def _read(video: Video, entry: Node, objects: ObjectIds | None, told: bool) -> Expression:
    if objects is not None:
        objects.check(video, entry["obj_id"])
    return Expression(
        video=video.id,
        id=entry.key_name(),
        query=entry["exp"].text(),
        category=REFERRING,
        objects=(label_of(entry["obj_id"]),) if told else None,
        scored=range(len(video.frames)),
        folders=(prediction_folder(video, entry),),
    )
