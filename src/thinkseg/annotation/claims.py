"""What a text states that can be held against the truth: words in; moments, sides, numbers, boxes and marks out.

These are patterns of plain English, and know nothing of the truth. They are meant to find what is stated in the usual
words, not all that can be said: what they miss is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from thinkseg.types import LabelUnit


def sentences(text: str) -> list[str]:
    """The sentences of a text; a point within a number ends none."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


_MOMENTS: dict[LabelUnit, re.Pattern[str]] = {
    "seconds": re.compile(r"(?<![\d.,])(\d+(?:\.\d+)?)\s*-?(?:s|secs?|seconds?)\b", re.IGNORECASE),
    "index": re.compile(r"\bframes?\s*(?:no\.?|number|index|#)?\s*(\d+)\b", re.IGNORECASE),
}


def moments(text: str, clock: LabelUnit) -> set[float]:
    """The frames that a text names, by the value of their labels: "0.8 s", "frame 12"."""
    return {float(found) for found in _MOMENTS[clock].findall(text)}


_FRAME = r"(?:frame|image|picture|scene|view|screen|video|shot)"
_PART = r"(?:side|half|third|quarter|part|corner|edge|area|portion|region)"
_SIDES = re.compile(
    rf"""
    \b(?:at|on|in|near|along|by|within|occup\w+|fill\w*)\s+(?:the\s+)?(?:far\s+|very\s+|extreme\s+)?
    (?P<sides>(?:top|bottom|upper|lower|left|right)(?:[\s-]+(?:and\s+)?(?:left|right))?)
    (?:[\s-]+hand(?=[\s-]+{_PART}))?(?:[\s-]+{_PART})?
    (?=\s*(?:[,.;:!?)]|$)
      |\s+(?:and|or|at|in|with|while|where|when|as|is|are|near|next|close|then|but|which|just)\b
      |\s+of\s+(?:the|this|that)\s+{_FRAME}\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A part of the frame. "to the left of the car", "the left side of its body" and "moves to the left" are none."""

_NEGATED = re.compile(r"\b(?:not|never|longer|rather than|instead of)(?:\s+\w+)?\s*$", re.IGNORECASE)
_SIDE = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom", "left": "left", "right": "right"}


def sides(text: str) -> list[frozenset[str]]:
    """The parts of the frame that are said to hold something: sets of left, right, top and bottom."""
    return [
        frozenset(side for word, side in _SIDE.items() if word in found["sides"].lower())
        for found in _SIDES.finditer(text)
        if not _NEGATED.search(text[: found.start()])
    ]


_NUMBERS = {
    word: value
    for value, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=2)
}
_VALUES = {**_NUMBERS, "both": 2, "single": 1, "only one": 1, "just one": 1, "exactly one": 1}
_COUNTED = re.compile(
    rf"\b(?<!other\s)(?<!\d\.)(?P<count>{'|'.join(_VALUES)}|\d{{1,3}})\s+(?!of\b|s\b|sec)"
    r"(?P<words>(?:[a-z]+\s+){0,2}[a-z]+)\b",
    re.IGNORECASE,
)
_TARGETS = {"target", "object", "match", "instance"}


def numbers(text: str, query: str) -> Iterator[int]:
    """How many targets a text says there are.

    What is counted is the first word in the plural. It is a target if it is called one, or named by a word of the
    question. "Two of them" and "the other two" are a part of them.
    """
    asked = set(re.findall(r"[a-z]+", query.lower()))
    names = {*map(_stem, asked), *_TARGETS}
    for found in _COUNTED.finditer(text):
        count, words = found["count"].lower(), found["words"].lower().split()
        if count in asked:  # "the man with two bags" has two bags
            continue
        value = _VALUES.get(count) or int(count)
        counted = next((_stem(word) for word in words if word.endswith("s")), None)
        if counted in names or (value == 1 and not _TARGETS.isdisjoint(words)):
            yield value


def boxes(text: str) -> np.ndarray:
    """The boxes that a text writes, float64 (N, 4): "[12, 40, 32, 64]"."""
    number = r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*"
    found = re.findall(rf"\[{','.join([number] * 4)}\]", text)
    return np.array(found, np.float64).reshape(-1, 4)


_MARKS = re.compile(
    r"\b(?:outlin\w+|rectang\w+|bounding|box(?:es|ed)?|highlight\w*|contours?|overla(?:y|ys|id)|annotat\w+|silhouett\w+"
    r"|(?:drawn|marked)\s+(?:around|by|in|on|over|with)|(?:colou?red|thin|thick)\s+(?:line|border|frame|edge)s?)\b",
    re.IGNORECASE,
)


def marks(text: str, query: str) -> list[str]:
    """Words for what is drawn on frames; those that the question uses itself mean something else."""
    own = {_stem(word) for word in re.findall(r"[a-z]+", query.lower())}
    return [found for found in _MARKS.findall(text) if own.isdisjoint(map(_stem, found.lower().split()))]


def denies(text: str) -> bool:
    """Whether a text says that something is not so."""
    pattern = r"\b(?:no|not|none|nothing|nobody|neither|nor|never|without|absent|cannot)\b|n['’]t\b"
    return bool(re.search(pattern, text, re.IGNORECASE))


def finds_nothing(text: str) -> bool:
    """Whether a text says that there is no target at all."""
    fits = r"[^.]*\b(?:fits?|match\w*)\b"
    pattern = rf"\bno\s+(?:such|object|target|match|thing)\b|\bnothing\b(?!\s+else){fits}|\bnone\s+of\b{fits}"
    return bool(re.search(pattern, text, re.IGNORECASE))


def _stem(word: str) -> str:
    """A word without the ending of its plural."""
    return re.sub(r"(?<=[sxh])es$|(?<=\w\w)s$", "", word)
