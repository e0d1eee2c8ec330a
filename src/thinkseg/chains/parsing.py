"""From a model's words to an answer and back: the one place where coordinates and timestamps change their meaning.

In: the text of a reply and the `Shown` record of what its writer saw. Out: source pixels and whole-video frame indices,
or an `AnswerError` with a reason from `REASONS`. For each `parse_...` there is a `write_...`, its inverse, for training
data.

Three formats, with white space allowed around and between the tags and nothing else outside them. All in one turn:

    <think>TEXT</think><answer>{"keyframe_timestamp": 0.8, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>

or, if there is no such object, {"keyframe_timestamp": null, "bbox_2d_list": []}. A choice of one frame, k being 0 for
the first of those that were shown:

    <think>TEXT</think><answer>[{"frame_idx": k, "object description": "TEXT"}]</answer>

or, if there is no such object, []. And boxes on a frame that is already chosen:

    [{"bbox_2d": [x1, y1, x2, y2]}, ...]

in which a "label" may stand beside each box, and a code fence around all: that is how Qwen models write them.

Replies are untrusted text of any length. Time and memory are linear in it, and JSON is only parsed once the answer is
known to be short and shallow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkseg.chains.frames import MAX_QUERY_CHARS, Shown
from thinkseg.errors import AnswerError
from thinkseg.types import Answer

REASONS: dict[str, str] = {
    "truncated": "the reply ran into the token limit before its answer was complete",
    "invalid_tags": "the reply is not <think>...</think><answer>...</answer>, each tag once, nothing else around them",
    "answer_too_long": "the text between the answer tags is longer than any answer needs to be",
    "invalid_json": "the answer is not JSON of the kind that was asked for: an object, or a list of objects",
    "invalid_fields": "an object does not have exactly the fields that were asked for, once each",
    "unknown_keyframe": "the keyframe is not one of the frames that were shown, nor is there said to be none",
    "invalid_description": "the description of the target is not text, is empty, or is longer than a question may be",
    "invalid_boxes": "the boxes are not a list of boxes of four finite numbers each",
    "too_many_boxes": "there are more boxes than one answer may hold",
    "zero_area_box": "a box has no area inside the frame (x1 < x2 and y1 < y2 are needed)",
    "missing_boxes": "a keyframe is chosen but nothing is boxed on it",
    "missing_keyframe": "there are boxes but no keyframe to put them on",
}
"""Why a reply could not be used: the reason an `AnswerError` carries, and what it means."""

MAX_BOXES = 64
MAX_ANSWER_CHARS = 16_384
"""Room for `MAX_BOXES` boxes with coordinates of full float precision, white space included."""

KEYFRAME, BOXES = "keyframe_timestamp", "bbox_2d_list"
FRAME, DESCRIPTION = "frame_idx", "object description"
BOX, LABEL = "bbox_2d", "label"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def parse_answer(text: str, shown: Shown) -> Answer:
    """Reads a reply strictly.

    Returns the answer with its keyframe as an index into the whole video and its boxes, float32 (N, 4), clipped to the
    frame and in pixels of the source. Raises AnswerError, and nothing else, whatever the text.
    """
    thinking, body = _split(text)
    fields = _fields(_json(body, max_objects=1), (KEYFRAME, BOXES))
    label, boxes = fields[KEYFRAME], fields[BOXES]
    keyframe = None if label is None else _frame_of(label, shown)
    if not isinstance(boxes, list):
        raise AnswerError("invalid_boxes", f"{BOXES} is not a list")
    if keyframe is None and boxes:
        raise AnswerError("missing_keyframe", f"{len(boxes)} boxes")
    if keyframe is not None and not boxes:
        raise AnswerError("missing_boxes", f"keyframe {keyframe}")
    return Answer(thinking, keyframe, _to_source(_numbers(boxes), shown))


def write_answer(thinking: str, keyframe: int | None, boxes: np.ndarray, shown: Shown) -> str:
    """Writes the reply that `parse_answer` reads as this answer, boxes rounded to the model's whole units.

    keyframe: index into the whole video, one of `shown.indices`; None, with no boxes, says that there is no target.
    boxes: (N, 4) xyxy in pixels of the source frame. Boxes thinner than one unit are widened to one.
    Raises ValueError if that answer cannot be written so that it reads back.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if (keyframe is None) != (len(boxes) == 0) or len(boxes) > MAX_BOXES:
        raise ValueError(f"keyframe {keyframe} with {len(boxes)} boxes is not an answer (at most {MAX_BOXES} boxes)")
    label = "null" if keyframe is None else shown.labels[_position(keyframe, shown)]
    listed = json.dumps(_to_model(boxes, shown).tolist())
    return _tagged(thinking, f'{{"{KEYFRAME}": {label}, "{BOXES}": {listed}}}')


@dataclass(frozen=True, slots=True)
class Choice:
    """The frame in which the targets are to be boxed.

    keyframe: index into the whole video; None if there is no target. description: what the targets look like there, on
    one line, single-spaced; "" if there is none.
    """

    thinking: str
    keyframe: int | None
    description: str


def parse_choice(text: str, shown: Shown) -> Choice:
    """Reads the choice of a frame strictly. Raises AnswerError, and nothing else, whatever the text."""
    thinking, body = _split(text)
    entries = _json(body, max_objects=MAX_BOXES)
    if type(entries) is not list:
        raise AnswerError("invalid_json", "not a list")
    if not entries:
        return Choice(thinking, None, "")
    if len(entries) > 1:
        raise AnswerError("invalid_fields", f"{len(entries)} entries, one is asked for")
    fields = _fields(entries[0], (FRAME, DESCRIPTION))
    number = fields[FRAME]
    if type(number) is not float or number not in range(len(shown.indices)):
        raise AnswerError("unknown_keyframe", f"not a whole number from 0 to {len(shown.indices) - 1}")
    return Choice(thinking, shown.indices[int(number)], _described(fields[DESCRIPTION]))


def write_choice(choice: Choice, shown: Shown) -> str:
    """Writes the reply that `parse_choice` reads as this choice. Raises ValueError if it would not read back."""
    if choice.keyframe is None:
        return _tagged(choice.thinking, "[]")
    entry = {FRAME: _position(choice.keyframe, shown), DESCRIPTION: choice.description}
    text = _tagged(choice.thinking, json.dumps([entry], ensure_ascii=False))
    try:
        read = parse_choice(text, shown).description
    except AnswerError as error:
        raise ValueError(f"that description cannot be written: {error}") from None
    if read != choice.description:
        raise ValueError(f"a description stands on one line, single-spaced: {choice.description!r}")
    return text


def parse_boxes(text: str, shown: Shown) -> np.ndarray:
    """Reads boxes on the one frame that was shown, strictly.

    Returns float32 (N, 4) with N >= 1, clipped to the frame and in pixels of the source. Raises AnswerError, and
    nothing else, whatever the text.
    """
    entries = _json(_unfenced(text), max_objects=MAX_BOXES)
    if type(entries) is not list:
        raise AnswerError("invalid_json", "not a list")
    if not entries:
        raise AnswerError("missing_boxes", "an empty list")
    return _to_source(_numbers([_fields(entry, (BOX,), (LABEL,))[BOX] for entry in entries]), shown)


def write_boxes(boxes: np.ndarray, shown: Shown) -> str:
    """Writes the reply that `parse_boxes` reads as these boxes, rounded as `write_answer` rounds them.

    Raises ValueError if they cannot be written so that they read back.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not 1 <= len(boxes) <= MAX_BOXES:
        raise ValueError(f"{len(boxes)} boxes cannot be written: there are 1 to {MAX_BOXES}")
    return json.dumps([{BOX: box} for box in _to_model(boxes, shown).tolist()])


def _tagged(thinking: str, body: str) -> str:
    if any(tag in part for tag in TAGS for part in (thinking, body)):
        raise ValueError(f"the thinking or the answer holds one of the tags {' '.join(TAGS)}")
    return f"<think>{thinking}</think><answer>{body}</answer>"


def _position(keyframe: int, shown: Shown) -> int:
    """Place of a frame among those shown. Raises ValueError if it is not one of them."""
    if keyframe not in shown.indices:
        raise ValueError(f"keyframe {keyframe} is not among the frames shown, {shown.indices}")
    return shown.indices.index(keyframe)


def _split(text: str) -> tuple[str, str]:
    """The thinking and the text of the answer."""
    for tag in TAGS:
        if (count := text.count(tag)) != 1:
            raise AnswerError("invalid_tags", f"{tag} occurs {count} times")
    before, _, rest = text.partition(TAGS[0])
    thinking, closed, rest = rest.partition(TAGS[1])
    between, opened, rest = rest.partition(TAGS[2])
    body, ended, after = rest.partition(TAGS[3])
    if not (closed and opened and ended):
        raise AnswerError("invalid_tags", "out of order")
    if before.strip() or between.strip() or after.strip():
        raise AnswerError("invalid_tags", "text outside the tags")
    return thinking.strip(), body


def _unfenced(text: str) -> str:
    """The text inside a code fence that encloses all of it; the text itself if there is none."""
    text = text.strip()
    fenced = text.startswith("```") and text.endswith("```") and len(text) >= 6
    return text[3:-3].removeprefix("json") if fenced else text


def _json(body: str, max_objects: int) -> Any:
    """The value that JSON stands for, every number a float and every object a `_Pairs`."""
    if len(body) > MAX_ANSWER_CHARS:
        raise AnswerError("answer_too_long", f"{len(body)} characters, at most {MAX_ANSWER_CHARS}")
    # An answer opens one list, one more list a box, and few objects. With so few, no nesting can exhaust the stack.
    if body.count("[") > 1 + MAX_BOXES:
        raise AnswerError("too_many_boxes", f"at most {MAX_BOXES}")
    if body.count("{") > max_objects:
        raise AnswerError("invalid_json", f"more than {max_objects} objects")
    try:
        # Floats alone: Python refuses whole numbers of very many digits, and the reply must be able to say 1 or 1.0.
        return json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    except ValueError as error:
        raise AnswerError("invalid_json", str(error)) from None


class _Pairs(list):
    """A JSON object before its duplicate names are lost, told apart from a JSON list by its type."""


def _fields(value: Any, needed: Sequence[str], allowed: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a JSON object by name: all that are needed, and perhaps some that are allowed, none twice."""
    if not isinstance(value, _Pairs):
        raise AnswerError("invalid_json", "not an object")
    names = [name for name, _ in value]
    if sorted(name for name in names if name not in allowed) != sorted(needed) or len(set(names)) < len(names):
        raise AnswerError("invalid_fields", f"needed are {' and '.join(needed)}")
    return dict(value)


def _described(description: object) -> str:
    """A description on one line, such as can be said to a model again."""
    text = " ".join(description.split()) if isinstance(description, str) else ""
    if not 0 < len(text) <= MAX_QUERY_CHARS or any("\ud800" <= char <= "\udfff" for char in text):
        raise AnswerError("invalid_description", f"not a text of 1 to {MAX_QUERY_CHARS} characters")
    return text


def _frame_of(label: object, shown: Shown) -> int:
    """The frame index behind a timestamp."""
    if isinstance(label, float):
        for index, text in zip(shown.indices, shown.labels, strict=True):
            if float(text) == label:
                return index
    raise AnswerError("unknown_keyframe", "not one of the timestamps shown")


def _numbers(boxes: list[Any]) -> np.ndarray:
    """Boxes as written, float64 (N, 4), all finite."""
    if len(boxes) > MAX_BOXES:
        raise AnswerError("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        # Exactly float: true and false are numbers to Python, not to us.
        if type(box) is not list or len(box) != 4 or any(type(value) is not float for value in box):
            raise AnswerError("invalid_boxes", "a box is four numbers, [x1, y1, x2, y2]")
    numbers = np.array(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(numbers).all():
        raise AnswerError("invalid_boxes", "a coordinate is not finite")
    return numbers


def _to_source(written: np.ndarray, shown: Shown) -> np.ndarray:
    """Boxes in the model's units, float64 (N, 4), clipped to the frame and turned into source pixels, float32."""
    limit, source = _limits(shown)
    # Clip before scaling, which would overflow on the largest floats.
    boxes = (np.clip(written, 0, limit) * (source / limit)).astype(np.float32)
    if (boxes[:, :2] >= boxes[:, 2:]).any():
        raise AnswerError("zero_area_box", "x1 < x2 and y1 < y2 are needed inside the frame")
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
    limit = (1000, 1000) if shown.coordinates == "normalized_1000" else shown.frame_wh
    return np.array(limit * 2, np.float64), np.array(shown.source_wh * 2, np.float64)
