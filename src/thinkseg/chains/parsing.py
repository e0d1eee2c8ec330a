"""Parses replies into answers, and writes answers as replies.

`parse_...` convert a reply and the `Shown` record of its frames to frame indices of the video and boxes in source
pixels, or raise `AnswerError` with a reason from `REASONS`. `write_...` are their inverses, for training data. All
conversions of coordinates and timestamps are here.

There are three formats. Outside and between the tags, only whitespace is allowed. The reply of the chain `veason` is:

    <think>TEXT</think><answer>{"keyframe_timestamp": 0.8, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>

or, without a target, {"keyframe_timestamp": null, "bbox_2d_list": []}. The first reply of the chain `revseg` chooses a
frame, where k = 0 is the first frame shown:

    <think>TEXT</think><answer>[{"frame_idx": k, "object description": "TEXT"}]</answer>

or, without a target, []. Its second reply has the boxes on that frame:

    [{"bbox_2d": [x1, y1, x2, y2]}, ...]

where each box may have a "label" and all may be in a code fence, as Qwen models write them, after a thinking block, as
models write that always think.

Replies are untrusted text of any length. Time and memory are linear in their length: JSON is parsed only if it is short
and has few levels. `thinkseg.chains.repair` brings replies into these formats that are close to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkseg.chains.frames import MAX_QUERY_CHARS, Shown, box_limits
from thinkseg.errors import AnswerError
from thinkseg.ops.chat_text import TAGS, without_thinking
from thinkseg.types import Answer

MAX_BOXES = 64

REASONS: dict[str, str] = {
    "truncated": "the reply reached the token limit before its answer was complete",
    "invalid_tags": "the reply is not <think>...</think><answer>...</answer>, with each tag once and no text outside",
    "answer_too_long": "the text of the answer is too long, or has too many lists and objects",
    "invalid_json": "the answer is not JSON of the required type: an object, or a list of objects",
    "invalid_fields": "an object does not have exactly the required fields, once each",
    "unknown_keyframe": "the keyframe is neither a frame shown nor null",
    "invalid_description": "the description of the target is not text, is empty or is too long",
    "invalid_boxes": "the boxes are not a list of boxes with four finite numbers each",
    "too_many_boxes": f"the answer has more than {MAX_BOXES} boxes",
    "zero_area_box": "a box has no area inside the frame (x1 < x2 and y1 < y2 are required)",
    "missing_boxes": "the answer has a keyframe but no boxes",
    "missing_keyframe": "the answer has boxes but no keyframe",
}
"""Reasons of `AnswerError`, and their meanings."""


def explained(reason: str) -> str:
    """Returns a reason of failure as a sentence with a remedy; one that is not of `REASONS` unchanged."""
    if reason not in REASONS:
        return reason
    remedy = "raise --max-tokens" if reason == "truncated" else "check the policy with `thinkseg check-policy`"
    return f"{REASONS[reason]}; {remedy}"


MAX_ANSWER_CHARS = 16_384
"""Enough for `MAX_BOXES` boxes with coordinates of full float precision, with whitespace."""

MAX_BRACKETS = 4 * MAX_BOXES
"""Lists and objects in an answer that is parsed. Bounds the depth of nesting."""

KEYFRAME, BOXES = "keyframe_timestamp", "bbox_2d_list"
FRAME, DESCRIPTION = "frame_idx", "object description"
BOX, LABEL = "bbox_2d", "label"


def parse_answer(text: str, shown: Shown) -> Answer:
    """Parses a reply of the chain `veason` strictly.

    Returns the answer, with boxes clipped to the frame, float32 (N, 4), in pixels of the source frame. Raises only
    AnswerError, for any text. Invalid boxes do not make the keyframe invalid: their error has it.
    """
    thinking, body = _split(text)
    fields = _fields(_json(body), (KEYFRAME, BOXES))
    label = fields[KEYFRAME]
    keyframe = None if label is None else _frame_index(label, shown)
    try:
        return Answer(thinking, keyframe, _boxes_on(keyframe, fields[BOXES], shown))
    except AnswerError as error:
        error.keyframe = keyframe
        raise


def _boxes_on(keyframe: int | None, boxes: Any, shown: Shown) -> np.ndarray:
    """Returns the boxes of an answer with this keyframe in source pixels."""
    if type(boxes) is not list:
        raise AnswerError("invalid_boxes", f"{BOXES} is not a list")
    if keyframe is None and boxes:
        raise AnswerError("missing_keyframe", f"{len(boxes)} boxes")
    if keyframe is not None and not boxes:
        raise AnswerError("missing_boxes", f"keyframe {keyframe}")
    return _to_source(_numbers(boxes), shown)


def write_answer(thinking: str, keyframe: int | None, boxes: np.ndarray, shown: Shown) -> str:
    """Writes a reply that `parse_answer` parses as this answer, with boxes rounded to integers of the coordinates.

    keyframe: one of `shown.indices`; None, without boxes, means that there is no target.
    boxes: (N, 4) xyxy in pixels of the source frame. Sides that round to 0 are widened to 1.
    Raises ValueError if the answer cannot be written so that it parses back.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if (keyframe is None) != (len(boxes) == 0) or len(boxes) > MAX_BOXES:
        raise ValueError(
            f"keyframe {keyframe} with {len(boxes)} boxes is not an answer; give 1 to {MAX_BOXES} boxes, or neither"
        )
    label = "null" if keyframe is None else shown.labels[_position(keyframe, shown)]
    listed = json.dumps(_to_model(boxes, shown).tolist())
    return _tagged(thinking, f'{{"{KEYFRAME}": {label}, "{BOXES}": {listed}}}')


@dataclass(frozen=True, slots=True)
class Choice:
    """The first answer of the chain `revseg`: a keyframe, and how the targets look in it.

    keyframe: index into the video; None if there is no target.
    description: on one line, with single spaces; "" if there is no target.
    """

    thinking: str
    keyframe: int | None
    description: str


def parse_choice(text: str, shown: Shown) -> Choice:
    """Parses the choice of a frame strictly. Raises only AnswerError, for any text."""
    thinking, body = _split(text)
    entries = _json(body)
    if type(entries) is not list:
        raise AnswerError("invalid_json", "not a list")
    if not entries:
        return Choice(thinking, None, "")
    if len(entries) > 1:
        raise AnswerError("invalid_fields", f"{len(entries)} entries, must be 1")
    fields = _fields(entries[0], (FRAME, DESCRIPTION))
    number = fields[FRAME]
    if type(number) is not float or number not in range(len(shown.indices)):
        raise AnswerError("unknown_keyframe", f"not an integer from 0 to {len(shown.indices) - 1}")
    return Choice(thinking, shown.indices[int(number)], _checked_description(fields[DESCRIPTION]))


def write_choice(choice: Choice, shown: Shown) -> str:
    """Writes a reply that `parse_choice` parses as this choice. Raises ValueError if it would not parse back."""
    if choice.keyframe is None:
        return _tagged(choice.thinking, "[]")
    entry = {FRAME: _position(choice.keyframe, shown), DESCRIPTION: choice.description}
    text = _tagged(choice.thinking, json.dumps([entry], ensure_ascii=False))
    try:
        parsed = parse_choice(text, shown).description
    except AnswerError as error:
        raise ValueError(f"the description cannot be written: {error}") from None
    if parsed != choice.description:
        raise ValueError(f"the description must be one line with single spaces: {choice.description!r}")
    return text


def parse_boxes(text: str, shown: Shown) -> np.ndarray:
    """Parses the boxes on the only frame shown strictly.

    Returns float32 (N, 4), N >= 1, clipped to the frame, in pixels of the source frame. Raises only AnswerError, for
    any text.
    """
    entries = _json(_unfenced(without_thinking(text)))
    if type(entries) is not list:
        raise AnswerError("invalid_json", "not a list")
    if not entries:
        raise AnswerError("missing_boxes", "an empty list")
    return _to_source(_numbers([_fields(entry, (BOX,), (LABEL,))[BOX] for entry in entries]), shown)


def write_boxes(boxes: np.ndarray, shown: Shown) -> str:
    """Writes a reply that `parse_boxes` parses as these boxes, rounded as by `write_answer`.

    Raises ValueError if they cannot be written so that they parse back.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not 1 <= len(boxes) <= MAX_BOXES:
        raise ValueError(f"{len(boxes)} boxes cannot be written; give 1 to {MAX_BOXES}")
    return json.dumps([{BOX: box} for box in _to_model(boxes, shown).tolist()])


def _tagged(thinking: str, body: str) -> str:
    if any(tag in part for tag in TAGS for part in (thinking, body)):
        raise ValueError(f"the thinking or the answer contains one of the tags {' '.join(TAGS)}")
    return f"<think>{thinking}</think><answer>{body}</answer>"


def _position(keyframe: int, shown: Shown) -> int:
    """Returns the position of a frame among those shown. Raises ValueError if it was not shown."""
    if keyframe not in shown.indices:
        raise ValueError(f"keyframe {keyframe} must be one of the frames shown, {shown.indices}")
    return shown.indices.index(keyframe)


def _split(text: str) -> tuple[str, str]:
    """Splits a reply into the thinking and the text of the answer."""
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
    """Removes a code fence around a complete text without whitespace around it."""
    fenced = text.startswith("```") and text.endswith("```") and len(text) >= 6
    return text[3:-3].removeprefix("json") if fenced else text


def _json(body: str) -> Any:
    """Parses JSON. All numbers become floats, and objects become `_Pairs`."""
    if len(body) > MAX_ANSWER_CHARS:
        raise AnswerError("answer_too_long", f"{len(body)} characters, at most {MAX_ANSWER_CHARS}")
    if (brackets := body.count("[") + body.count("{")) > MAX_BRACKETS:
        raise AnswerError("answer_too_long", f"{brackets} lists and objects, at most {MAX_BRACKETS}")
    try:
        # parse_int=float, because int() raises for many digits, and because 1 and 1.0 are both valid.
        return json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    except ValueError as error:
        raise AnswerError("invalid_json", str(error)) from None


class _Pairs(list):
    """The items of a JSON object, with duplicate names. The type distinguishes it from a JSON list."""


def _fields(value: Any, required: Sequence[str], allowed: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the fields of a JSON object: all `required` ones and any of `allowed`, each at most once."""
    if not isinstance(value, _Pairs):
        raise AnswerError("invalid_json", "not an object")
    names = [name for name, _ in value]
    if sorted(name for name in names if name not in allowed) != sorted(required) or len(set(names)) < len(names):
        raise AnswerError("invalid_fields", f"required are {' and '.join(required)}")
    return dict(value)


def _checked_description(description: object) -> str:
    """Returns a description on one line, for the next prompt."""
    text = " ".join(description.split()) if isinstance(description, str) else ""
    if not 0 < len(text) <= MAX_QUERY_CHARS or any("\ud800" <= char <= "\udfff" for char in text):
        raise AnswerError("invalid_description", f"not a text of 1 to {MAX_QUERY_CHARS} characters")
    return text


def _frame_index(label: object, shown: Shown) -> int:
    """Returns the frame index of a timestamp."""
    if isinstance(label, float):
        for index, text in zip(shown.indices, shown.labels, strict=True):
            if float(text) == label:
                return index
    raise AnswerError("unknown_keyframe", "not one of the timestamps shown")


def _numbers(boxes: list[Any]) -> np.ndarray:
    """Validates boxes. Returns float64 (N, 4), all finite."""
    if len(boxes) > MAX_BOXES:
        raise AnswerError("too_many_boxes", f"{len(boxes)}, at most {MAX_BOXES}")
    for box in boxes:
        # In Python, true and false are numbers too.
        if type(box) is not list or len(box) != 4 or any(type(value) is not float for value in box):
            raise AnswerError("invalid_boxes", "a box is four numbers, [x1, y1, x2, y2]")
    numbers = np.array(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(numbers).all():
        raise AnswerError("invalid_boxes", "a coordinate is not finite")
    return numbers


def _to_source(written: np.ndarray, shown: Shown) -> np.ndarray:
    """Clips boxes in the policy's coordinates, float64 (N, 4), to the frame and converts them to source pixels."""
    boxes = _clipped(written, shown)
    if (boxes[:, :2] >= boxes[:, 2:]).any():
        raise AnswerError("zero_area_box", "x1 < x2 and y1 < y2 are required inside the frame")
    return boxes


def have_area(written: np.ndarray, shown: Shown) -> np.ndarray:
    """Returns which boxes in the policy's coordinates, finite float64 (N, 4), have an area in the frame, bool (N,)."""
    boxes = _clipped(written, shown)
    return np.all(boxes[:, :2] < boxes[:, 2:], axis=1)


def _clipped(written: np.ndarray, shown: Shown) -> np.ndarray:
    limit, source = _limits(shown)
    # Clipping first avoids overflow when scaling.
    return (np.clip(written, 0, limit) * (source / limit)).astype(np.float32)


def _to_model(boxes: np.ndarray, shown: Shown) -> np.ndarray:
    """Converts boxes in source pixels, float64 (N, 4), to integers of the policy's coordinates, with sides >= 1."""
    limit, source = _limits(shown)
    clipped = np.clip(boxes, 0, source)
    if not np.isfinite(boxes).all() or (clipped[:, :2] >= clipped[:, 2:]).any():
        raise ValueError(f"boxes must be finite with an area in a frame of {shown.source_wh}, not {boxes.tolist()}")
    exact = clipped * (limit / source)
    first, last = np.rint(exact[:, :2]), np.rint(exact[:, 2:])
    # A side that rounds to 0 becomes the unit that contains its middle.
    middle = np.minimum(np.floor(exact.reshape(-1, 2, 2).mean(axis=1)), limit[:2] - 1)
    thin = first >= last
    return np.hstack([np.where(thin, middle, first), np.where(thin, middle + 1, last)]).astype(int)


def _limits(shown: Shown) -> tuple[np.ndarray, np.ndarray]:
    """Returns the maxima of (x1, y1, x2, y2) in the policy's coordinates and in source pixels."""
    return np.array(box_limits(shown) * 2, np.float64), np.array(shown.source_wh * 2, np.float64)
