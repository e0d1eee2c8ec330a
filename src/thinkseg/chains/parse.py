"""From a model's words to an answer and back: the one place where coordinates and timestamps change their meaning.

In: the text of a reply and the `Shown` record of what its writer saw. Out: an `Answer` in source pixels and whole-video
frame indices, or an `AnswerError` with a reason from `REASONS`. `write_answer` is the inverse, for training data.

The format, with white space allowed around and between the tags and nothing else outside them:

    <think>TEXT</think><answer>{"keyframe_timestamp": 0.8, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>

or, if there is no such object, {"keyframe_timestamp": null, "bbox_2d_list": []}.

Replies are untrusted text of any length. Time and memory are linear in it, and JSON is only parsed once the answer is
known to be short and shallow.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from thinkseg.chains.show import Shown
from thinkseg.errors import AnswerError
from thinkseg.types import Answer

REASONS: dict[str, str] = {
    "truncated": "the reply ran into the token limit before its answer was complete",
    "tags": "the reply is not <think>...</think><answer>...</answer>, each tag once, nothing else around them",
    "too_long": "the text between the answer tags is longer than any answer needs to be",
    "json": "the text between the answer tags is not a JSON object",
    "fields": "the object does not have exactly the fields keyframe_timestamp and bbox_2d_list, once each",
    "keyframe": "keyframe_timestamp is neither null nor the timestamp of a frame that was shown",
    "boxes": "bbox_2d_list is not a list of boxes of four finite numbers each",
    "too_many_boxes": "there are more boxes than one answer may hold",
    "empty_box": "a box has no area inside the frame (x1 < x2 and y1 < y2 are needed)",
    "no_box": "a keyframe is chosen but nothing is boxed on it",
    "no_keyframe": "there are boxes but no keyframe to put them on",
}
"""Why a reply could not be used: the reason an `AnswerError` carries, and what it means."""

MAX_BOXES = 64
MAX_ANSWER_CHARS = 16_384
"""Room for `MAX_BOXES` boxes with coordinates of full float precision, white space included."""

KEYFRAME, BOXES = "keyframe_timestamp", "bbox_2d_list"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def parse_answer(text: str, shown: Shown) -> Answer:
    """Reads a reply strictly.

    Returns the answer with its keyframe as an index into the whole video and its boxes, float32 (N, 4), clipped to the
    frame and in pixels of the source. Raises AnswerError, and nothing else, whatever the text.
    """
    thinking, body = _split(text)
    label, boxes = _fields(body)
    keyframe = None if label is None else _frame_of(label, shown)
    if not isinstance(boxes, list):
        raise AnswerError("boxes", f"{BOXES} is not a list")
    if keyframe is None and boxes:
        raise AnswerError("no_keyframe", f"{len(boxes)} boxes")
    if keyframe is not None and not boxes:
        raise AnswerError("no_box", f"keyframe {keyframe}")
    return Answer(thinking, keyframe, _to_source(_numbers(boxes), shown))


def write_answer(thinking: str, keyframe: int | None, boxes: np.ndarray, shown: Shown) -> str:
    """Writes the reply that `parse_answer` reads as this answer, boxes rounded to the model's whole units.

    keyframe: index into the whole video, one of `shown.indices`; None, with no boxes, says that there is no target.
    boxes: (N, 4) xyxy in pixels of the source frame. Boxes thinner than one unit are widened to one.
    Raises ValueError if that answer cannot be written so that it reads back.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if any(tag in thinking for tag in TAGS):
        raise ValueError(f"the thinking holds one of the tags {' '.join(TAGS)}")
    if (keyframe is None) != (len(boxes) == 0) or len(boxes) > MAX_BOXES:
        raise ValueError(f"keyframe {keyframe} with {len(boxes)} boxes is not an answer (at most {MAX_BOXES} boxes)")
    if keyframe is not None and keyframe not in shown.indices:
        raise ValueError(f"keyframe {keyframe} is not among the frames shown, {shown.indices}")
    label = "null" if keyframe is None else shown.labels[shown.indices.index(keyframe)]
    listed = json.dumps(_to_model(boxes, shown).tolist())
    return f'<think>{thinking}</think><answer>{{"{KEYFRAME}": {label}, "{BOXES}": {listed}}}</answer>'


def _split(text: str) -> tuple[str, str]:
    """The thinking and the text of the answer."""
    for tag in TAGS:
        if (count := text.count(tag)) != 1:
            raise AnswerError("tags", f"{tag} occurs {count} times")
    before, _, rest = text.partition(TAGS[0])
    thinking, closed, rest = rest.partition(TAGS[1])
    between, opened, rest = rest.partition(TAGS[2])
    body, ended, after = rest.partition(TAGS[3])
    if not (closed and opened and ended):
        raise AnswerError("tags", "out of order")
    if before.strip() or between.strip() or after.strip():
        raise AnswerError("tags", "text outside the tags")
    return thinking.strip(), body


def _fields(body: str) -> tuple[Any, Any]:
    """The values of the two fields, every JSON number a float."""
    if len(body) > MAX_ANSWER_CHARS:
        raise AnswerError("too_long", f"{len(body)} characters, at most {MAX_ANSWER_CHARS}")
    # An answer opens one brace, one list, and one more list a box. With so few, no nesting can exhaust the stack.
    if body.count("{") > 1 or body.count("[") > 1 + MAX_BOXES:
        _reject_brackets(body)
    try:
        # Floats alone: Python refuses whole numbers of very many digits, and the reply must be able to say 1 or 1.0.
        pairs = json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    except ValueError as error:
        raise AnswerError("json", str(error)) from None
    if not isinstance(pairs, _Pairs):
        raise AnswerError("json", "not an object")
    if sorted(name for name, _ in pairs) != sorted((KEYFRAME, BOXES)):
        raise AnswerError("fields", f"needed are {KEYFRAME} and {BOXES}")
    values = dict(pairs)
    return values[KEYFRAME], values[BOXES]


class _Pairs(list):
    """A JSON object before its duplicate names are lost, told apart from a JSON list by its type."""


def _reject_brackets(body: str) -> None:
    if body.count("{") > 1:
        raise AnswerError("json", "more than one object")
    raise AnswerError("too_many_boxes", f"at most {MAX_BOXES}")


def _frame_of(label: object, shown: Shown) -> int:
    """The frame index behind a timestamp."""
    if isinstance(label, float):
        for index, text in zip(shown.indices, shown.labels, strict=True):
            if float(text) == label:
                return index
    raise AnswerError("keyframe", "not one of the timestamps shown")


def _numbers(boxes: list[Any]) -> np.ndarray:
    """Boxes as written, float64 (N, 4), all finite."""
    if len(boxes) > MAX_BOXES:
        raise AnswerError("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        # Exactly float: true and false are numbers to Python, not to us.
        if type(box) is not list or len(box) != 4 or any(type(value) is not float for value in box):
            raise AnswerError("boxes", "a box is four numbers, [x1, y1, x2, y2]")
    numbers = np.array(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(numbers).all():
        raise AnswerError("boxes", "a coordinate is not finite")
    return numbers


def _to_source(written: np.ndarray, shown: Shown) -> np.ndarray:
    """Boxes in the model's units, float64 (N, 4), clipped to the frame and turned into source pixels, float32."""
    limit, source = _limits(shown)
    # Clip before scaling, which would overflow on the largest floats.
    boxes = (np.clip(written, 0, limit) * (source / limit)).astype(np.float32)
    if (boxes[:, :2] >= boxes[:, 2:]).any():
        raise AnswerError("empty_box", "x1 < x2 and y1 < y2 are needed inside the frame")
    return boxes


def _to_model(boxes: np.ndarray, shown: Shown) -> np.ndarray:
    """Boxes in source pixels, float64 (N, 4), as whole numbers of the model's units, at least one unit a side."""
    limit, source = _limits(shown)
    clipped = np.clip(boxes, 0, source)
    if not np.isfinite(boxes).all() or (clipped[:, :2] >= clipped[:, 2:]).any():
        raise ValueError(f"not boxes in a frame of {shown.source_wh}: {boxes.tolist()}")
    exact = clipped * (limit / source)
    first, last = np.rint(exact[:, :2]), np.rint(exact[:, 2:])
    # A side that rounds to nothing becomes the one unit that its middle lies in.
    middle = np.minimum(np.floor(exact.reshape(-1, 2, 2).mean(axis=1)), limit[:2] - 1)
    thin = first >= last
    return np.hstack([np.where(thin, middle, first), np.where(thin, middle + 1, last)]).astype(int)


def _limits(shown: Shown) -> tuple[np.ndarray, np.ndarray]:
    """Far ends of the frame for (x1, y1, x2, y2): in the model's units, and in source pixels."""
    limit = (1000, 1000) if shown.coordinates == "thousandths" else shown.frame_wh
    return np.array(limit * 2, np.float64), np.array(shown.source_wh * 2, np.float64)
