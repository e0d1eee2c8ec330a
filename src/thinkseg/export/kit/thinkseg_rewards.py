"""ThinkSeg's rewards for other trainers: replies and the truth of their prompt in, numbers in [0, 1] out.

Plain Python 3.10 with nothing to install. Written by `thinkseg export`; the same replies earn the same in ThinkSeg.

    verl      compute_score: reward.custom_reward_function.path=.../thinkseg_rewards.py
    EasyR1    compute_scores: worker.reward.reward_function=.../thinkseg_rewards.py:compute_scores
    TRL       see thinkseg_trl.py

The truth of a prompt is a JSON text:

    {"chain": "veason",              one turn, or two for "revseg"
     "labels": ["0.0", "0.4"],       what stood before each frame shown
     "frame_wh": [560, 560],         size of the frame that boxes are written for
     "source_wh": [1280, 720],       size of the video, whose pixels true areas and boxes are in
     "coordinates": "pixels",        of the frame, or "normalized_1000": 0 to 1000 of its sides
     "target": true,                 false: there is no such object, and saying so is right
     "areas": [5210, 4800],          pixels of the targets in each frame shown
     "boxes": [[[8, 16, 90, 71]], []]}   xyxy of the targets to be seen in each frame shown

Replies are untrusted text of any length. Time and memory are linear in it, and JSON is only parsed once the answer is
known to be short and shallow.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, NamedTuple

REWARD_NAME, REWARD_TYPE = "thinkseg", "batch"
"""What EasyR1 asks of the module of `compute_scores`."""

WEIGHTS = {
    "veason": {"format": 1.0, "keyframe": 1.0, "boxes": 1.0},
    "revseg": {"format_graded": 1.0, "keyframe_soft": 1.0, "box_hit": 1.0},
}
"""What each chain is rewarded for unless told otherwise: as in the papers, but for what needs a tracker."""

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
MAX_BOXES, MAX_ANSWER_CHARS, MAX_DESCRIPTION_CHARS = 64, 16_384, 2_000

HIT = 0.5
"""A box hits if its overlap with the true one is above this."""

WITHOUT_TAGS, WITHOUT_FIELDS = {"invalid_tags"}, {"answer_too_long", "invalid_json", "invalid_fields", "invalid_boxes"}
"""Why a reply cannot be used, if it keeps no part of the format, and if it keeps to the tags alone."""

Box = tuple[float, float, float, float]


class UnusableError(Exception):
    """A reply is not what was asked for. Its argument is the reason, one short word."""


class Attempt(NamedTuple):
    """What came of a dialogue.

    keyframe: the frame chosen, by its place among those shown; None if none could be read or there is said to be none.
    boxes: in pixels of the source; none if there is said to be no target; None if a reply could not be used.
    failure: why it could not be. said, unasked: replies there are, and turns that could not be asked for want of one.
    """

    keyframe: int | None
    boxes: list[Box] | None
    failure: str | None = None
    said: int = 1
    unasked: int = 0


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    weights: dict[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """What one answer is worth to verl: "score", and the rewards it is the weighted sum of.

    extra_info: its "replies" are those of a dialogue in two turns, as the agent loop leaves them there; otherwise
    `solution_str` is the only one. Raises ValueError for weights of rewards there are not.
    """
    truth = json.loads(ground_truth)
    replies = (extra_info or {}).get("replies")
    if replies is None:
        if truth["chain"] == "revseg":
            raise ValueError("the chain revseg asks twice: let agent_loop.yaml name thinkseg_verl.TwoTurns")
        replies = [solution_str]
    total, terms = _weighed(replies, truth, weights)
    return {"score": total, **terms}


def compute_scores(
    reward_inputs: list[dict[str, Any]], weights: dict[str, float] | None = None
) -> list[dict[str, float]]:
    """What each of the answers is worth to EasyR1: "overall", and the rewards it is the weighted sum of."""
    scores = []
    for given in reward_inputs:
        total, terms = _weighed([given["response"]], json.loads(given["ground_truth"]), weights)
        scores.append({"overall": total, **terms})
    return scores


def _weighed(
    replies: list[str], truth: dict[str, Any], weights: dict[str, float] | None
) -> tuple[float, dict[str, float]]:
    weights = dict(weights or WEIGHTS[truth["chain"]])
    if unknown := weights.keys() - REWARDS.keys():
        raise ValueError(f"there is no reward {sorted(unknown)[0]!r}; there are: {', '.join(REWARDS)}")
    tried = attempt(replies, truth)
    # What does not apply to a prompt counts nothing, whatever the answer.
    terms = {name: REWARDS[name](tried, truth) or 0.0 for name in weights}
    return sum(weights[name] * term for name, term in terms.items()), terms


def attempt(replies: list[str], truth: dict[str, Any]) -> Attempt:
    """Reads the replies of one dialogue."""
    if truth["chain"] == "veason":
        try:
            keyframe, boxes = parse_answer(replies[0], truth)
        except UnusableError as why:
            return Attempt(None, None, str(why))
        return Attempt(keyframe, boxes)
    try:
        keyframe, _ = parse_choice(replies[0], truth)
    except UnusableError as why:
        return Attempt(None, None, str(why), unasked=1)
    if keyframe is None:
        return Attempt(None, [])
    try:
        return Attempt(keyframe, parse_boxes(replies[1], truth), said=2)
    except UnusableError as why:
        return Attempt(keyframe, None, str(why), said=2)


def format_all(tried: Attempt, truth: dict[str, Any]) -> float:
    """1 if every turn was asked and every reply has its tags and fields, else 0."""
    return float(format_graded(tried, truth) == 1)


def format_graded(tried: Attempt, truth: dict[str, Any]) -> float:
    """How much of the format is kept, the mean over all turns; one that could not be asked counts 0."""
    if tried.failure is None:
        return 1.0
    tagged = tried.keyframe is None
    if tried.failure in WITHOUT_TAGS:
        kept = 0.0
    elif tried.failure in WITHOUT_FIELDS:
        kept = 0.5 if tagged else 0.0
    else:
        kept = 1.0
    return (tried.said - 1 + kept) / (tried.said + tried.unasked)


def keyframe(tried: Attempt, truth: dict[str, Any]) -> float | None:
    """Visible area of the targets at the chosen frame over their largest area in any frame shown."""
    return _about_targets(tried, truth, lambda at: truth["areas"][at] / max(truth["areas"]))


def boxes(tried: Attempt, truth: dict[str, Any]) -> float | None:
    """Overlap of predicted and true boxes at the chosen frame, matched one to one, over the larger number of them."""

    def measured(at: int) -> float:
        most = max(len(tried.boxes or ()), len(truth["boxes"][at]))
        return sum(_overlaps(tried, truth, at)) / most if most else 0.0

    return _about_targets(tried, truth, measured)


def keyframe_soft(tried: Attempt, truth: dict[str, Any]) -> float | None:
    """Area of the true boxes at the chosen frame, between the least (0) and the most (1) of any frame shown."""

    def measured(at: int) -> float:
        areas = [sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes) for boxes in truth["boxes"]]
        least, most = min(areas), max(areas)
        if areas[at] == 0:
            return 0.0
        return 1.0 if least == most else (areas[at] - least) / (most - least)

    return _about_targets(tried, truth, measured)


def keyframe_present(tried: Attempt, truth: dict[str, Any]) -> float | None:
    """1 if a target is to be seen in the chosen frame, else 0."""
    return _about_targets(tried, truth, lambda at: float(len(truth["boxes"][at]) > 0))


def box_hit(tried: Attempt, truth: dict[str, Any]) -> float | None:
    """Share of the boxes, predicted or true, whichever are more, that are matched with an overlap above a half."""

    def measured(at: int) -> float:
        if tried.boxes is None:
            return 0.0
        hits = sum(overlap > HIT for overlap in _overlaps(tried, truth, at))
        return hits / max(len(tried.boxes), len(truth["boxes"][at]), 1)

    return _about_targets(tried, truth, measured)


REWARDS = {
    "format": format_all,
    "format_graded": format_graded,
    "keyframe": keyframe,
    "boxes": boxes,
    "keyframe_soft": keyframe_soft,
    "keyframe_present": keyframe_present,
    "box_hit": box_hit,
}
"""Every reward by its name: a function of an attempt and the truth, which gives None where it does not apply."""


def _about_targets(tried: Attempt, truth: dict[str, Any], measure: Any) -> float | None:
    """What all rewards about targets share; `measure` is asked where one can be seen and a frame is chosen."""
    if not truth["target"]:
        return float(tried.keyframe is None and tried.boxes is not None)
    if not any(truth["areas"]):
        return None
    return 0.0 if tried.keyframe is None else measure(tried.keyframe)


def _overlaps(tried: Attempt, truth: dict[str, Any], at: int) -> list[float]:
    """Intersections over union of predicted with true boxes in the one-to-one matching with the largest sum."""
    one, other = list(tried.boxes or ()), [tuple(box) for box in truth["boxes"][at]]
    if len(one) > len(other):
        one, other = other, one
    if not one:
        return []
    overlaps = [[_overlap(a, b) for b in other] for a in one]
    return [overlaps[row][column] for row, column in enumerate(_assigned(overlaps))]


def _overlap(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _assigned(gains: list[list[float]]) -> list[int]:
    """A column for each row, no column twice, with the largest sum of gains; there are at least as many columns.

    The Hungarian method: rows come in one by one, each along the cheapest path that moves those already there. Prices
    keep all reduced costs at 0 or above, and those of what is assigned at 0. Column 0 and row 0 stand for nothing.
    """
    columns = len(gains[0])
    row_price, column_price = [0.0] * (len(gains) + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for row in range(1, len(gains) + 1):
        owner[0], at = row, 0
        distance, before = [math.inf] * (columns + 1), [0] * (columns + 1)
        visited: set[int] = set()
        while owner[at]:
            visited.add(at)
            for column in range(1, columns + 1):
                if column not in visited:
                    reduced = -gains[owner[at] - 1][column - 1] - row_price[owner[at]] - column_price[column]
                    if reduced < distance[column]:
                        distance[column], before[column] = reduced, at
            at = min((c for c in range(1, columns + 1) if c not in visited), key=distance.__getitem__)
            step = distance[at]
            for column in range(columns + 1):
                if column in visited:
                    row_price[owner[column]] += step
                    column_price[column] -= step
                else:
                    distance[column] -= step
        while at:
            owner[at], at = owner[before[at]], before[at]
    columns_of = {owner[column]: column - 1 for column in range(1, columns + 1) if owner[column]}
    return [columns_of[row] for row in range(1, len(gains) + 1)]


def parse_answer(text: str, truth: dict[str, Any]) -> tuple[int | None, list[Box]]:
    """The frame and the boxes of a reply that has all in one turn. Raises UnusableError, whatever the text."""
    fields = _fields(_json(_inside(text), max_objects=1), ("keyframe_timestamp", "bbox_2d_list"))
    label, listed = fields["keyframe_timestamp"], fields["bbox_2d_list"]
    at = None if label is None else _place_of(label, truth)
    if type(listed) is not list:
        raise UnusableError("invalid_boxes")
    if (at is None) != (not listed):
        raise UnusableError("missing_keyframe" if listed else "missing_boxes")
    return at, _boxes(listed, truth)


def parse_choice(text: str, truth: dict[str, Any]) -> tuple[int | None, str]:
    """The frame of a first reply, and how the targets look there. Raises UnusableError, whatever the text."""
    entries = _json(_inside(text), max_objects=MAX_BOXES)
    if type(entries) is not list:
        raise UnusableError("invalid_json")
    if not entries:
        return None, ""
    if len(entries) > 1:
        raise UnusableError("invalid_fields")
    fields = _fields(entries[0], ("frame_idx", "object description"))
    number, description = fields["frame_idx"], fields["object description"]
    if type(number) is not float or number not in range(len(truth["labels"])):
        raise UnusableError("unknown_keyframe")
    words = " ".join(description.split()) if isinstance(description, str) else ""
    if not 0 < len(words) <= MAX_DESCRIPTION_CHARS or any("\ud800" <= char <= "\udfff" for char in words):
        raise UnusableError("invalid_description")
    return int(number), words


def parse_boxes(text: str, truth: dict[str, Any]) -> list[Box]:
    """The boxes of a second reply. Raises UnusableError, whatever the text."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        text = text[3:-3].removeprefix("json")
    entries = _json(text, max_objects=MAX_BOXES)
    if type(entries) is not list:
        raise UnusableError("invalid_json")
    if not entries:
        raise UnusableError("missing_boxes")
    return _boxes([_fields(entry, ("bbox_2d",), ("label",))["bbox_2d"] for entry in entries], truth)


def _inside(text: str) -> str:
    """What stands between the answer tags."""
    if any(text.count(tag) != 1 for tag in TAGS):
        raise UnusableError("invalid_tags")
    before, _, rest = text.partition(TAGS[0])
    _, closed, rest = rest.partition(TAGS[1])
    between, opened, rest = rest.partition(TAGS[2])
    body, ended, after = rest.partition(TAGS[3])
    if not (closed and opened and ended) or (before + between + after).strip():
        raise UnusableError("invalid_tags")
    return body


class _Pairs(list):
    """A JSON object before its duplicate names are lost, told apart from a JSON list by its type."""


def _json(body: str, max_objects: int) -> Any:
    """The value that JSON stands for, every number a float and every object a `_Pairs`."""
    if len(body) > MAX_ANSWER_CHARS:
        raise UnusableError("answer_too_long")
    if body.count("[") > 1 + MAX_BOXES:
        raise UnusableError("too_many_boxes")
    if body.count("{") > max_objects:
        raise UnusableError("invalid_json")
    try:
        return json.loads(body, object_pairs_hook=_Pairs, parse_int=float)
    except ValueError:
        raise UnusableError("invalid_json") from None


def _fields(value: Any, needed: tuple[str, ...], allowed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a JSON object by name: all that are needed, and perhaps some that are allowed, none twice."""
    if not isinstance(value, _Pairs):
        raise UnusableError("invalid_json")
    names = [name for name, _ in value]
    if sorted(name for name in names if name not in allowed) != sorted(needed) or len(set(names)) < len(names):
        raise UnusableError("invalid_fields")
    return dict(value)


def _place_of(label: Any, truth: dict[str, Any]) -> int:
    """The place of a timestamp among those shown."""
    for place, shown in enumerate(truth["labels"]):
        if isinstance(label, float) and float(shown) == label:
            return place
    raise UnusableError("unknown_keyframe")


def _boxes(listed: list[Any], truth: dict[str, Any]) -> list[Box]:
    """Boxes in the model's units, clipped to the frame and turned into pixels of the source, as ThinkSeg keeps them."""
    if len(listed) > MAX_BOXES:
        raise UnusableError("too_many_boxes")
    # Exactly float: true and false are numbers to Python, not to us.
    if any(type(box) is not list or len(box) != 4 or any(type(side) is not float for side in box) for box in listed):
        raise UnusableError("invalid_boxes")
    if not all(math.isfinite(side) for box in listed for side in box):
        raise UnusableError("invalid_boxes")
    limits = (list(truth["frame_wh"]) if truth["coordinates"] == "pixels" else [1000, 1000]) * 2
    scales = [source / limit for source, limit in zip(list(truth["source_wh"]) * 2, limits, strict=True)]
    read = [
        tuple(_single(min(max(v, 0.0), limit) * scale) for v, limit, scale in zip(box, limits, scales, strict=True))
        for box in listed
    ]
    if any(x1 >= x2 or y1 >= y2 for x1, y1, x2, y2 in read):
        raise UnusableError("zero_area_box")
    return read  # type: ignore[return-value]


def _single(value: float) -> float:
    """The nearest number of single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]
