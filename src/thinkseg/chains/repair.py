"""Repairs replies that are not in the exact form of their turn but can be read without guessing.

In: a reply, the form that its turn asks for, and the frames shown. Out: a text in that form, and the names of the
repairs. The parser of `thinkseg.chains.parsing` reads the text, so that there is one parser. A reply that it reads is
not changed; neither is one that cannot be read, or has two answers that differ: its parser says why.

Replies are untrusted text of any length. Time and memory are linear in their length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from thinkseg.chains.frames import Shown
from thinkseg.chains.parsing import (
    BOX,
    BOXES,
    DESCRIPTION,
    FRAME,
    KEYFRAME,
    LABEL,
    MAX_ANSWER_CHARS,
    MAX_BRACKETS,
    have_area,
    parse_answer,
    parse_boxes,
    parse_choice,
)
from thinkseg.errors import AnswerError
from thinkseg.ops.chat_text import TAGS

REPAIRS: dict[str, str] = {
    "outside_text": "text outside of the tags or around the JSON is left out",
    "thinking_tags": "the tags of the thinking are missing, open or repeated, or it contains tags",
    "answer_tags": "the tags of the answer are missing, open or repeated, or are there although none are asked for",
    "repeated_answer": "the same answer is given more than once",
    "code_fence": "a code fence around the answer is removed",
    "doubled_braces": "braces are doubled, {{ and }}",
    "single_quotes": "texts are in single quotes",
    "python_literal": "None, True, False or parentheses stand for their counterparts in JSON",
    "trailing_comma": "a comma follows the last item of a list or an object",
    "single_object": "an object stands alone instead of in a list, or in a list instead of alone",
    "bare_box": "a box stands alone instead of in a list, or as a list instead of in an object",
    "box_objects": 'boxes are objects such as {"bbox_2d": [...]} instead of lists',
    "field_name": "a field has another spelling, or the boxes are called bbox_2d, box_2d or bbox",
    "further_fields": "fields that are not asked for are left out",
    "string_number": "a number is in quotes",
    "keyframe_unit": 'the keyframe has its unit, as in "3.0 s" or "frame 3"',
    "zero_area_box": "boxes without area inside the frame are left out, next to others with area",
}
"""All repairs by name, in the order in which they are named."""

MAX_ANSWERS = 8
"""Answers or code fences in a reply; one with more cannot be read."""

THINK, THINK_END, ANSWER, ANSWER_END = TAGS
BOX_NAMES = (BOX, "box_2d", "bbox")

_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|["']|[A-Za-z_]+|,\s*(?=[\]})])|[()]""", re.DOTALL)
"""What differs between JSON and Python's notation; a lone quote opens a text that does not end."""

_PYTHON = {"None": "null", "True": "true", "False": "false", "(": "[", ")": "]"}
_NUMBER = r"([-+]?[0-9]{1,20}(?:\.[0-9]{0,20})?)"
_ALONE = re.compile(rf"\s*{_NUMBER}\s*")
_SECONDS = re.compile(rf"\s*{_NUMBER}\s*(?:s|secs?|seconds?)\s*:?\s*", re.IGNORECASE)
_INDEX = re.compile(rf"\s*frame\s*{_NUMBER}\s*:?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a turn's replies.

    parse: its parser. tagged: it has the tags of the thinking and the answer. rewrite: returns a JSON value in this
    form, adds to the set what it repaired, and raises ValueError if the value cannot be read.
    """

    parse: Callable[[str, Shown], object]
    tagged: bool
    rewrite: Callable[[Any, Shown, set[str]], Any]


def repaired(text: str, form: Form, shown: Shown) -> tuple[str, tuple[str, ...]]:
    """Returns a reply in the form of its turn, with the names of its repairs, keys of `REPAIRS`.

    Without repairs, the text is unchanged. The parser of the form has the last word about a repaired text, too.
    """
    try:
        form.parse(text, shown)
        return text, ()
    except AnswerError:
        found: set[str] = set()
    try:
        rewritten = _rewritten(text, form, shown, found)
    except ValueError:
        return text, ()
    return (rewritten, tuple(name for name in REPAIRS if name in found)) if found else (text, ())


def repairing(form: Form, shown: Shown) -> Callable[[str], tuple[str, tuple[str, ...]]]:
    """Returns `repaired` for the replies to one turn, as `Turn.repair`."""
    return partial(repaired, form=form, shown=shown)


def _rewritten(text: str, form: Form, shown: Shown, found: set[str]) -> str:
    thinking, bodies = _without_tags(text, form.tagged, found)
    blocks = [block for body in bodies for block in _without_fences(body, form.tagged, found)]
    answers = {json.dumps(form.rewrite(_value(block, found), shown, found)) for block in blocks}
    if len(answers) != 1:
        raise ValueError("no answer, or several that differ")
    if len(blocks) > 1:
        found.add("repeated_answer")
    (answer,) = answers
    return f"{THINK}{thinking}{THINK_END}{ANSWER}{answer}{ANSWER_END}" if form.tagged else answer


def _without_tags(text: str, tagged: bool, found: set[str]) -> tuple[str, list[str]]:
    """Returns the thinking without tags, and the texts that may be answers."""
    thinking, text = _without_thinking(text, tagged, found)
    before, *parts = text.split(ANSWER)
    if len(parts) > MAX_ANSWERS:
        raise ValueError("too many answers")
    if bool(parts) != tagged:
        found.add("answer_tags")
    if not parts:
        return thinking, [text]
    bodies, outside = [], [before]
    for part in parts:
        body, ended, after = part.partition(ANSWER_END)
        if not ended:
            found.add("answer_tags")
        if ended or body.strip():
            bodies.append(body)
        outside.append(after)
    _note_outside("".join(outside), found)
    return thinking, bodies


def _without_thinking(text: str, tagged: bool, found: set[str]) -> tuple[str, str]:
    """Cuts the first block of thinking out of a reply. Without its tags, it is what precedes the answer."""
    head, closed, rest = text.partition(THINK_END)
    if not closed:
        head, answer, rest = text.partition(ANSWER)
        if THINK in text and not answer:
            raise ValueError("thinking without an end")
        head, rest = (head, answer + rest) if answer else ("", text)
    before, opened, thinking = head.partition(THINK)
    if not opened:
        before, thinking = "", head
    if not opened and not closed:
        if not tagged:
            return "", head + rest
        _note_outside(head, set())
    if not (opened and closed) or (tagged and any(tag in thinking for tag in TAGS)):
        found.add("thinking_tags")
    for tag in TAGS:
        thinking = thinking.replace(tag, f"{tag[0]} {tag[1:]}")
    return thinking.strip(), before + rest


def _note_outside(text: str, found: set[str]) -> None:
    """Names what is left out: further tags, and text. Raises ValueError for text that may have another answer."""
    if "{" in text or "[" in text:
        raise ValueError("perhaps a second answer")
    for name, tags in (("thinking_tags", TAGS[:2]), ("answer_tags", TAGS[2:])):
        for tag in tags:
            if tag in text:
                found.add(name)
                text = text.replace(tag, "")
    if text.strip():
        found.add("outside_text")


def _without_fences(body: str, tagged: bool, found: set[str]) -> list[str]:
    """Returns the texts in code fences, or the body if it has none."""
    outside, *fenced = body.split("```")
    if not fenced:
        return [body]
    if len(fenced) > 2 * MAX_ANSWERS:
        raise ValueError("too many code fences")
    _note_outside("".join((outside, *fenced[1::2])), found)
    # The form without tags permits one fence, of JSON.
    if tagged or len(fenced) != 2 or not re.match(r"(json)?\s*[\[{]", fenced[0]):
        found.add("code_fence")
    return [re.sub(r"^\w*", "", block) for block in fenced[::2]]


def _value(text: str, found: set[str]) -> Any:
    """Parses the JSON in a text. All numbers become floats. Raises ValueError for text that is none."""
    start, end = re.search(r"[\[{]", text), max(text.rfind("]"), text.rfind("}")) + 1
    if start is None or end <= start.start():
        raise ValueError("no JSON")
    _note_outside(f"{text[: start.start()]} {text[end:]}", found)
    text = text[start.start() : end]
    if len(text) > MAX_ANSWER_CHARS or sum(map(text.count, "[{(")) > MAX_BRACKETS:
        raise ValueError("too long or too deep")
    if re.match(r"\[?\s*\{\{", text):
        found.add("doubled_braces")
        text = text.replace("{{", "{").replace("}}", "}")
    # parse_int=float, as in the parser.
    return json.loads(_as_json(text, found), object_pairs_hook=_unique, parse_int=float)


def _as_json(text: str, found: set[str]) -> str:
    """Rewrites Python's notation and commas at the end as JSON."""

    def rewritten(token: re.Match[str]) -> str:
        part = token[0]
        if part in ("'", '"'):
            raise ValueError("a text without an end")
        if part.startswith("'"):
            found.add("single_quotes")
            inner = re.sub(r"\\.|\"", _requoted, part[1:-1], flags=re.DOTALL)
            return f'"{inner}"'
        if part.startswith(","):
            found.add("trailing_comma")
            return ""
        if part in _PYTHON:
            found.add("python_literal")
        return _PYTHON.get(part, part)

    return _TOKEN.sub(rewritten, text)


def _requoted(token: re.Match[str]) -> str:
    """A quote or an escaped character of a text in single quotes, for double quotes."""
    return {"\\'": "'", '"': '\\"'}.get(token[0], token[0])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes the value of an object. Raises ValueError for a field with several values."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field occurs twice")
    return fields


def _rewrite_answer(value: Any, shown: Shown, found: set[str]) -> Any:
    """Rewrites a value as the answer that `parse_answer` expects."""
    if isinstance(value, list) and len(value) == 1:
        found.add("single_object")
        (value,) = value
    fields = _fields(value)
    keyframe, boxes = _take(fields, (KEYFRAME,), found), _take(fields, (BOXES, *BOX_NAMES), found)
    _drop(fields, ("frame", "time", "box"), found)
    unit = _SECONDS if shown.label_unit == "seconds" else _INDEX
    corners = [_corners(item, found, as_object=False) for item in _items(boxes, found)]
    return {KEYFRAME: _number(keyframe, found, unit), BOXES: _with_area(corners, shown, found)}


def _rewrite_choice(value: Any, shown: Shown, found: set[str]) -> Any:
    """Rewrites a value as the choice that `parse_choice` expects."""
    entries = []
    for item in _items(value, found):
        fields = _fields(item)
        number = _number(_take(fields, (FRAME,), found), found, _INDEX)
        entries.append({FRAME: number, DESCRIPTION: _take(fields, (DESCRIPTION,), found)})
        _drop(fields, ("frame", "time"), found)
    return entries


def _rewrite_boxes(value: Any, shown: Shown, found: set[str]) -> Any:
    """Rewrites a value as the boxes that `parse_boxes` expects."""
    corners = [_corners(item, found, as_object=True) for item in _items(value, found)]
    return [{BOX: box} for box in _with_area(corners, shown, found)]


ANSWER_FORM = Form(parse_answer, True, _rewrite_answer)
CHOICE_FORM = Form(parse_choice, True, _rewrite_choice)
BOXES_FORM = Form(parse_boxes, False, _rewrite_boxes)


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return dict(value)


def _take(fields: dict[str, Any], names: Sequence[str], found: set[str]) -> Any:
    """Removes and returns the value of the only field with one of some names, the first of which is the exact one."""
    plain = [*map(_plain, names)]
    matching = [name for name in fields if _plain(name) in plain]
    if len(matching) != 1:
        raise ValueError(f"{len(matching)} fields for {names[0]}")
    if matching[0] != names[0]:
        found.add("field_name")
    return fields.pop(matching[0])


def _drop(fields: dict[str, Any], rivals: Sequence[str], found: set[str]) -> None:
    """Leaves out further fields. Raises ValueError if one may be another answer, by its name and value."""
    for name, value in fields.items():
        is_text = value is None or (isinstance(value, str) and not any(map(str.isdigit, value)))
        if not is_text and any(word in _plain(name) for word in rivals):
            raise ValueError(f"{name} may be another answer")
        found.add("further_fields")


def _plain(name: str) -> str:
    """A name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", name).lower()


def _items(value: Any, found: set[str]) -> list[Any]:
    """Returns a value as a list of objects or boxes."""
    if isinstance(value, dict):
        found.add("single_object")
        return [value]
    if not isinstance(value, list):
        raise ValueError("not a list")
    if _is_box(value):
        found.add("bare_box")
        return [value]
    return value


def _corners(item: Any, found: set[str], as_object: bool) -> Any:
    """Returns the numbers of a box, or what stands there instead. as_object: the form has an object for each box."""
    if isinstance(item, dict) != as_object:
        found.add("bare_box" if as_object else "box_objects")
    if isinstance(item, dict):
        fields = _fields(item)
        item = _take(fields, BOX_NAMES, found)
        fields.pop(LABEL, None)
        _drop(fields, ("frame", "time", "box"), found)
    return [_number(side, found) for side in item] if _is_box(item) else item


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and not any(isinstance(side, list | dict) for side in value)


def _number(value: Any, found: set[str], unit: re.Pattern[str] | None = None) -> Any:
    """Returns the number that a text has, alone or with a unit; other values unchanged."""
    if isinstance(value, str):
        for name, pattern in (("string_number", _ALONE), ("keyframe_unit", unit)):
            if pattern and (match := pattern.fullmatch(value)):
                found.add(name)
                return float(match[1])
    return value


def _with_area(boxes: list[Any], shown: Shown, found: set[str]) -> list[Any]:
    """Leaves out boxes without area, unless all are. Others than four finite numbers are left to the parser."""
    if not all(_is_box(box) and all(type(side) is float and np.isfinite(side) for side in box) for box in boxes):
        return boxes
    good = [
        box for box, has_area in zip(boxes, have_area(np.array(boxes).reshape(-1, 4), shown), strict=True) if has_area
    ]
    if not good or len(good) == len(boxes):
        return boxes
    found.add("zero_area_box")
    return good
