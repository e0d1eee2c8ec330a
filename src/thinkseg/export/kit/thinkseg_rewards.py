"""ThinkSeg's rewards for other trainers. Equal replies get the same rewards as in ThinkSeg.

Plain Python 3.10 without dependencies, copied by `thinkseg export`.

    verl      compute_score: reward.custom_reward_function.path=.../thinkseg_rewards.py
    EasyR1    compute_scores: worker.reward.reward_function=.../thinkseg_rewards.py:compute_scores
    TRL       see thinkseg_trl.py

The ground truth of a prompt is a JSON object:

    {"chain": "veason",              one turn, or two for "revseg"
     "labels": ["0.0", "0.4"],       the label before each frame shown
     "frame_wh": [560, 560],         size of the frame on which boxes are predicted
     "source_wh": [1280, 720],       size of the video; areas and boxes are in its pixels
     "coordinates": "pixels",        of the frame, or "normalized_1000": 0 to 1000 of its sides
     "has_target": true,             false: the right answer is that there is no target
     "areas": [5210, 4800],          pixels of the targets in each frame shown
     "boxes": [[[8, 16, 90, 71]], []],   xyxy of the visible targets in each frame shown
     "opening": "<think>\\n"}            optional: the start of every reply that the chat template puts into the prompt

"dataset", "id" and "indices" name the question and the frames shown for `thinkseg reward-server`.
With the environment variable THINKSEG_REWARD_URL, verl and EasyR1 get all rewards from `thinkseg reward-server`, see
thinkseg_client.py.

Replies are untrusted text of any length. Time and memory are linear in the length, and JSON is parsed only if the
answer is short and shallow.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REWARD_NAME, REWARD_TYPE = "thinkseg", "batch"
"""EasyR1 reads these from the module of `compute_scores`."""

WEIGHTS = {
    "veason": {"format": 1.0, "keyframe": 1.0, "boxes": 1.0},
    "revseg": {"format_graded": 1.0, "keyframe_soft": 1.0, "box_hit": 1.0},
}
"""Default weights per chain: as in the papers, without the reward that needs a tracker."""

SERVER_WEIGHTS = {**WEIGHTS, "veason": {**WEIGHTS["veason"], "consistency": 1.0}}
"""Default weights per chain with a server, which has a tracker."""

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
MAX_BOXES, MAX_BRACKETS, MAX_ANSWER_CHARS, MAX_DESCRIPTION_CHARS = 64, 256, 16_384, 2_000

HIT = 0.5
"""A box is a hit if its IoU with the ground truth is greater."""

WITHOUT_TAGS = {"invalid_tags"}
"""Reasons of failure that score 0 for the format."""

WITHOUT_FIELDS = {"answer_too_long", "invalid_json", "invalid_fields", "invalid_boxes"}
"""Reasons of failure that score 0.5 for the format if it has tags, else 0."""

Box = tuple[float, float, float, float]
Truth = dict[str, Any]


class AnswerError(Exception):
    """A reply is invalid. Its argument is the reason, one of `thinkseg.chains.parsing.REASONS`.

    keyframe: position of the frame that the reply chose; None without one.
    """

    keyframe: int | None = None


class Rollout(NamedTuple):
    """The parsed replies of one dialogue.

    keyframe: position of the chosen frame among those shown, also if the boxes on it are invalid; None without one.
    boxes: in pixels of the source, empty if there is no target; None if a reply is invalid.
    failure: the reason why a reply is invalid. num_replies: replies in the dialogue. num_unasked_turns: turns that were
        not reached because a reply is invalid.
    """

    keyframe: int | None
    boxes: list[Box] | None
    failure: str | None = None
    num_replies: int = 1
    num_unasked_turns: int = 0


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    weights: dict[str, float] | None = None,
    **_: Any,
) -> dict[str, float]:
    """Returns the rewards of one rollout for verl, and "score", their weighted sum.

    extra_info: "replies" are those of a dialogue in two turns, which the agent loop stores there. Otherwise
    `solution_str` is the only reply. Raises ValueError for unknown rewards in `weights`.
    """
    truth = read_truth(ground_truth)
    replies = (extra_info or {}).get("replies")
    if replies is None:
        if truth["chain"] == "revseg":
            raise ValueError("the chain revseg has two turns: set thinkseg_verl.TwoTurns in agent_loop.yaml")
        replies = [solution_str]
    ((total, terms),) = _weighted([(replies, truth)], weights)
    return {"score": total, **terms}


def compute_scores(
    reward_inputs: list[dict[str, Any]], weights: dict[str, float] | None = None
) -> list[dict[str, float]]:
    """Returns the rewards of each rollout for EasyR1, and "overall", their weighted sum."""
    rollouts = [([rollout["response"]], read_truth(rollout["ground_truth"])) for rollout in reward_inputs]
    return [{"overall": total, **terms} for total, terms in _weighted(rollouts, weights)]


def _weighted(
    rollouts: list[tuple[list[str], Truth]], weights: dict[str, float] | None
) -> list[tuple[float, dict[str, float]]]:
    """Returns the weighted sum and the rewards of each rollout, from the server if there is one.

    A reward that does not apply to a prompt is 0 for all its rollouts.
    """
    if not os.environ.get("THINKSEG_REWARD_URL"):
        return [_local(replies, truth, weights) for replies, truth in rollouts]
    batch = [
        ([complete_reply(reply, truth) for reply in replies], truth, dict(weights or SERVER_WEIGHTS[truth["chain"]]))
        for replies, truth in rollouts
    ]
    return [(total, {name: term or 0.0 for name, term in terms.items()}) for total, terms in _client().score_all(batch)]


def _client() -> Any:
    """Returns the module thinkseg_client, which is in this folder. Trainers load this file by its path alone."""
    folder = str(Path(__file__).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    import thinkseg_client

    return thinkseg_client


def _local(replies: list[str], truth: Truth, weights: dict[str, float] | None) -> tuple[float, dict[str, float]]:
    weights = dict(weights or WEIGHTS[truth["chain"]])
    if unknown := weights.keys() - REWARDS.keys():
        raise ValueError(f"unknown reward {sorted(unknown)[0]!r}: must be one of {', '.join(REWARDS)}")
    rollout = parse_rollout(replies, truth)
    terms = {name: REWARDS[name](rollout, truth) or 0.0 for name in weights}
    return sum(weights[name] * term for name, term in terms.items()), terms


def read_truth(text: str) -> Truth:
    """Parses a ground truth. Those of version 0.1 have other names for "has_target" and "normalized_1000"."""
    truth = json.loads(text)
    if "target" in truth:
        truth["has_target"] = truth.pop("target")
    if truth["coordinates"] == "thousandths":
        truth["coordinates"] = "normalized_1000"
    return truth


def parse_rollout(replies: list[str], truth: Truth) -> Rollout:
    """Parses the replies of one dialogue."""
    replies = [complete_reply(reply, truth) for reply in replies]
    if truth["chain"] == "veason":
        try:
            keyframe, boxes = parse_answer(replies[0], truth)
        except AnswerError as reason:
            return Rollout(reason.keyframe, None, str(reason))
        return Rollout(keyframe, boxes)
    try:
        keyframe, _ = parse_choice(replies[0], truth)
    except AnswerError as reason:
        return Rollout(None, None, str(reason), num_unasked_turns=1)
    if keyframe is None:
        return Rollout(None, [])
    try:
        return Rollout(keyframe, parse_boxes(replies[1], truth), num_replies=2)
    except AnswerError as reason:
        return Rollout(keyframe, None, str(reason), num_replies=2)


def complete_reply(reply: str, truth: Truth) -> str:
    """Returns a reply with the start that the chat template put into the prompt, unless the trainer has added it."""
    return reply if TAGS[0] in reply else truth.get("opening", "") + reply


def escape_control_tokens(text: str) -> str:
    """Inserts a space after the first character of each control token or placeholder: `<image>` -> `< image>`."""
    return re.sub(r"(?=<[^\s<>]+>|\[/?(?:IMG|INST|gMASK)\w*\]).", r"\g<0> ", text)


def format_strict(rollout: Rollout, truth: Truth) -> float:
    """R_f: 1 if all replies have the required tags and fields and no turn is missing, else 0."""
    return float(format_graded(rollout, truth) == 1)


def format_graded(rollout: Rollout, truth: Truth) -> float:
    """r_f: mean over the turns of the share of the format that the reply has; a missing turn counts 0."""
    if rollout.failure is None:
        return 1.0
    if rollout.failure in WITHOUT_TAGS:
        score = 0.0
    elif rollout.failure in WITHOUT_FIELDS:
        has_tags = rollout.num_replies == 1
        score = 0.5 if has_tags else 0.0
    else:
        score = 1.0
    return (rollout.num_replies - 1 + score) / (rollout.num_replies + rollout.num_unasked_turns)


def keyframe(rollout: Rollout, truth: Truth) -> float | None:
    """R_k: target area in the chosen frame / largest target area in any frame shown."""
    return _target_reward(rollout, truth, lambda frame: truth["areas"][frame] / max(truth["areas"]))


def keyframe_first(rollout: Rollout, truth: Truth) -> float | None:
    """R_k of the ablation: 1 if the chosen frame is the first of those shown in which a target is visible, else 0."""

    def measure(frame: int) -> float:
        return float(frame == next(shown for shown, area in enumerate(truth["areas"]) if area))

    return _target_reward(rollout, truth, measure)


def boxes(rollout: Rollout, truth: Truth) -> float | None:
    """R_s: sum of IoU over the one-to-one matching of predicted and true boxes / larger number of boxes."""

    def measure(frame: int) -> float:
        count = max(len(rollout.boxes or ()), len(truth["boxes"][frame]))
        return sum(_matched_ious(rollout, truth, frame)) / count if count else 0.0

    return _target_reward(rollout, truth, measure)


def keyframe_soft(rollout: Rollout, truth: Truth) -> float | None:
    """r_t: total area of the true boxes in the chosen frame, scaled from the least (0) to the most (1) of all frames.

    0 if no target is visible there.
    """

    def measure(frame: int) -> float:
        areas = [sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in frame_boxes) for frame_boxes in truth["boxes"]]
        least, most = min(areas), max(areas)
        if areas[frame] == 0:
            return 0.0
        return 1.0 if least == most else (areas[frame] - least) / (most - least)

    return _target_reward(rollout, truth, measure)


def keyframe_present(rollout: Rollout, truth: Truth) -> float | None:
    """r_t of the ablation: 1 if a target is visible in the chosen frame, else 0."""
    return _target_reward(rollout, truth, lambda frame: float(len(truth["boxes"][frame]) > 0))


def box_hit(rollout: Rollout, truth: Truth) -> float | None:
    """r_s: number of matched boxes with IoU > 0.5 / larger number of boxes."""

    def measure(frame: int) -> float:
        if rollout.boxes is None:
            return 0.0
        hits = sum(iou > HIT for iou in _matched_ious(rollout, truth, frame))
        return hits / max(len(rollout.boxes), len(truth["boxes"][frame]), 1)

    return _target_reward(rollout, truth, measure)


REWARDS: dict[str, Callable[[Rollout, Truth], float | None]] = {
    "format": format_strict,
    "format_graded": format_graded,
    "keyframe": keyframe,
    "keyframe_first": keyframe_first,
    "boxes": boxes,
    "keyframe_soft": keyframe_soft,
    "keyframe_present": keyframe_present,
    "box_hit": box_hit,
}
"""All rewards by name. A reward that does not apply to a prompt returns None."""


def _target_reward(rollout: Rollout, truth: Truth, measure: Callable[[int], float]) -> float | None:
    """Returns `measure` of the chosen frame if a target is visible; all target rewards share the other cases."""
    if not truth["has_target"]:
        return float(rollout.keyframe is None and rollout.boxes is not None)
    if not any(truth["areas"]):
        return None
    return 0.0 if rollout.keyframe is None else measure(rollout.keyframe)


def _matched_ious(rollout: Rollout, truth: Truth, frame: int) -> list[float]:
    """Returns the IoUs of the one-to-one matching of predicted and true boxes with the largest sum."""
    fewer, more = list(rollout.boxes or ()), [tuple(box) for box in truth["boxes"][frame]]
    if len(fewer) > len(more):
        fewer, more = more, fewer
    if not fewer:
        return []
    ious = [[_iou(a, b) for b in more] for a in fewer]
    return [ious[row][column] for row, column in enumerate(_assign(ious))]


def _iou(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    return intersection / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection)


def _assign(gains: list[list[float]]) -> list[int]:
    """Returns a different column for each row, with the largest sum of gains. Needs at least as many columns as rows.

    The Hungarian method: rows are added one at a time along the shortest augmenting path. Dual prices keep all reduced
    costs >= 0, and those of assigned pairs at 0. Row 0 and column 0 are sentinels.
    """
    columns = len(gains[0])
    row_price, column_price = [0.0] * (len(gains) + 1), [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)
    for row in range(1, len(gains) + 1):
        row_of[0], at = row, 0
        distance, previous = [math.inf] * (columns + 1), [0] * (columns + 1)
        visited: set[int] = set()
        while row_of[at]:
            visited.add(at)
            for column in range(1, columns + 1):
                if column not in visited:
                    reduced = -gains[row_of[at] - 1][column - 1] - row_price[row_of[at]] - column_price[column]
                    if reduced < distance[column]:
                        distance[column], previous[column] = reduced, at
            at = min((c for c in range(1, columns + 1) if c not in visited), key=distance.__getitem__)
            step = distance[at]
            for column in range(columns + 1):
                if column in visited:
                    row_price[row_of[column]] += step
                    column_price[column] -= step
                else:
                    distance[column] -= step
        while at:
            row_of[at], at = row_of[previous[at]], previous[at]
    column_of = {row_of[column]: column - 1 for column in range(1, columns + 1) if row_of[column]}
    return [column_of[row] for row in range(1, len(gains) + 1)]


def parse_answer(text: str, truth: Truth) -> tuple[int | None, list[Box]]:
    """Returns the frame and the boxes of a reply of the chain veason. Raises only AnswerError, for any text."""
    fields = _fields(_json(_tagged_answer(text)), ("keyframe_timestamp", "bbox_2d_list"))
    label, listed = fields["keyframe_timestamp"], fields["bbox_2d_list"]
    frame = None if label is None else _frame_position(label, truth)
    try:
        if type(listed) is not list:
            raise AnswerError("invalid_boxes")
        if (frame is None) != (not listed):
            raise AnswerError("missing_keyframe" if listed else "missing_boxes")
        return frame, _boxes(listed, truth)
    except AnswerError as error:
        error.keyframe = frame
        raise


def parse_choice(text: str, truth: Truth) -> tuple[int | None, str]:
    """Returns the frame and the description of a first reply of revseg. Raises only AnswerError, for any text."""
    entries = _json(_tagged_answer(text))
    if type(entries) is not list:
        raise AnswerError("invalid_json")
    if not entries:
        return None, ""
    if len(entries) > 1:
        raise AnswerError("invalid_fields")
    fields = _fields(entries[0], ("frame_idx", "object description"))
    number, value = fields["frame_idx"], fields["object description"]
    if type(number) is not float or number not in range(len(truth["labels"])):
        raise AnswerError("unknown_keyframe")
    description = " ".join(value.split()) if isinstance(value, str) else ""
    too_long = len(description) > MAX_DESCRIPTION_CHARS
    if not description or too_long or any("\ud800" <= char <= "\udfff" for char in description):
        raise AnswerError("invalid_description")
    return int(number), description


def parse_boxes(text: str, truth: Truth) -> list[Box]:
    """Returns the boxes of a second reply of revseg. Raises only AnswerError, for any text."""
    text = _without_thinking(text)
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        text = text[3:-3].removeprefix("json")
    entries = _json(text)
    if type(entries) is not list:
        raise AnswerError("invalid_json")
    if not entries:
        raise AnswerError("missing_boxes")
    return _boxes([_fields(entry, ("bbox_2d",), ("label",))["bbox_2d"] for entry in entries], truth)


def _without_thinking(text: str) -> str:
    """Returns a reply without a complete thinking block at its start and without whitespace around it."""
    text = text.strip()
    if text.startswith(TAGS[0]):
        _, closed, rest = text.partition(TAGS[1])
        return rest.strip() if closed else text
    return text


def _tagged_answer(text: str) -> str:
    """Returns the text between the answer tags."""
    if any(text.count(tag) != 1 for tag in TAGS):
        raise AnswerError("invalid_tags")
    before, _, rest = text.partition(TAGS[0])
    _, think_end, rest = rest.partition(TAGS[1])
    between, answer_start, rest = rest.partition(TAGS[2])
    answer, answer_end, after = rest.partition(TAGS[3])
    if not (think_end and answer_start and answer_end) or (before + between + after).strip():
        raise AnswerError("invalid_tags")
    return answer


class _Pairs(list):
    """The fields of a JSON object, with duplicates; a type of its own, so that it is not taken for a JSON list."""


def _json(text: str) -> Any:
    """Parses JSON, every number to float and every object to `_Pairs`."""
    if len(text) > MAX_ANSWER_CHARS or text.count("[") + text.count("{") > MAX_BRACKETS:
        raise AnswerError("answer_too_long")
    try:
        return json.loads(text, object_pairs_hook=_Pairs, parse_int=float)
    except ValueError:
        raise AnswerError("invalid_json") from None


def _fields(value: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the fields of a JSON object that has all required ones, no unknown ones and no duplicates."""
    if not isinstance(value, _Pairs):
        raise AnswerError("invalid_json")
    names = [name for name, _ in value]
    if sorted(name for name in names if name not in optional) != sorted(required) or len(set(names)) < len(names):
        raise AnswerError("invalid_fields")
    return dict(value)


def _frame_position(label: Any, truth: Truth) -> int:
    """Returns the position of the frame with this label among those shown."""
    for position, shown in enumerate(truth["labels"]):
        if isinstance(label, float) and float(shown) == label:
            return position
    raise AnswerError("unknown_keyframe")


def _boxes(listed: list[Any], truth: Truth) -> list[Box]:
    """Converts predicted boxes, clipped to the frame, to pixels of the source, rounded to float32 as in ThinkSeg."""
    if len(listed) > MAX_BOXES:
        raise AnswerError("too_many_boxes")
    # Exactly float: bool is a subclass of int, and `_json` parses every number to float.
    if any(type(box) is not list or len(box) != 4 or any(type(side) is not float for side in box) for box in listed):
        raise AnswerError("invalid_boxes")
    if not all(math.isfinite(side) for box in listed for side in box):
        raise AnswerError("invalid_boxes")
    limits = (list(truth["frame_wh"]) if truth["coordinates"] == "pixels" else [1000, 1000]) * 2
    scales = [source / limit for source, limit in zip(list(truth["source_wh"]) * 2, limits, strict=True)]
    converted = [
        tuple(_float32(min(max(v, 0.0), limit) * scale) for v, limit, scale in zip(box, limits, scales, strict=True))
        for box in listed
    ]
    if any(x1 >= x2 or y1 >= y2 for x1, y1, x2, y2 in converted):
        raise AnswerError("zero_area_box")
    return converted  # type: ignore[return-value]


def _float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]
