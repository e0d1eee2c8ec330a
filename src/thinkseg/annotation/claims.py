"""Claims in a text that can be verified: frames, parts of the frame, counts, boxes, overlays, presence.

The patterns match common English phrases. A claim in other words is not found, and so not verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from thinkseg.types import LabelUnit


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text; a decimal point ends none."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


_FRAMES: dict[LabelUnit, re.Pattern[str]] = {
    "seconds": re.compile(r"(?<![\d.,])(\d+(?:\.\d+)?)\s*-?(?:s|secs?|seconds?)\b", re.IGNORECASE),
    "index": re.compile(r"\bframes?\s*(?:no\.?|number|index|#)?\s*(\d+)\b", re.IGNORECASE),
}


def named_frames(text: str, label_unit: LabelUnit) -> set[float]:
    """Returns the labels, as numbers, of the frames that a text names: "0.8 s", "frame 12"."""
    return {float(found) for found in _FRAMES[label_unit].findall(text)}


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
"""A part of the frame. Does not match "to the left of the car", "the left side of its body", "moves to the left"."""

_NEGATED = re.compile(r"\b(?:not|never|longer|rather than|instead of)(?:\s+\w+)?\s*$", re.IGNORECASE)
_SIDE = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom", "left": "left", "right": "right"}


def sides(text: str) -> list[frozenset[str]]:
    """Returns the parts of the frame in which a text locates something: sets of left, right, top and bottom."""
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


def target_counts(text: str, query: str) -> Iterator[int]:
    """Yields the numbers of targets that a text states.

    The counted noun is the first plural word. It denotes targets if it is in `_TARGETS` or a word of the query. "Two of
    them" and "the other two" count a part of the targets, and are not yielded.
    """
    query_words = set(re.findall(r"[a-z]+", query.lower()))
    names = {*map(_stem, query_words), *_TARGETS}
    for found in _COUNTED.finditer(text):
        count, words = found["count"].lower(), found["words"].lower().split()
        if count in query_words:  # "the man with two bags" is one target
            continue
        value = _VALUES.get(count) or int(count)
        counted = next((_stem(word) for word in words if word.endswith("s")), None)
        if counted in names or (value == 1 and not _TARGETS.isdisjoint(words)):
            yield value


def boxes(text: str) -> np.ndarray:
    """Returns the boxes in a text, float64 (N, 4): "[12, 40, 32, 64]"."""
    number = r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*"
    found = re.findall(rf"\[{','.join([number] * 4)}\]", text)
    return np.array(found, np.float64).reshape(-1, 4)


_OVERLAYS = re.compile(
    r"\b(?:outlin\w+|rectang\w+|bounding|box(?:es|ed)?|highlight\w*|contours?|overla(?:y|ys|id)|annotat\w+|silhouett\w+"
    r"|(?:drawn|marked)\s+(?:around|by|in|on|over|with)|(?:colou?red|thin|thick)\s+(?:line|border|frame|edge)s?)\b",
    re.IGNORECASE,
)


def overlay_words(text: str, query: str) -> list[str]:
    """Returns words for overlays on frames, except for words of the query."""
    query_words = {_stem(word) for word in re.findall(r"[a-z]+", query.lower())}
    return [found for found in _OVERLAYS.findall(text) if query_words.isdisjoint(map(_stem, found.lower().split()))]


def denies(text: str) -> bool:
    """Returns whether a text contains a negation."""
    pattern = r"\b(?:no|not|none|nothing|nobody|neither|nor|never|without|absent|cannot)\b|n['’]t\b"
    return bool(re.search(pattern, text, re.IGNORECASE))


def denies_targets(text: str) -> bool:
    """Returns whether a text states that there is no target."""
    fits = r"[^.]*\b(?:fits?|match\w*)\b"
    pattern = rf"\bno\s+(?:such|object|target|match|thing)\b|\bnothing\b(?!\s+else){fits}|\bnone\s+of\b{fits}"
    return bool(re.search(pattern, text, re.IGNORECASE))


def _stem(word: str) -> str:
    """Returns a word without its plural ending."""
    return re.sub(r"(?<=[sxh])es$|(?<=\w\w)s$", "", word)
