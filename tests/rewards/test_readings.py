"""The rewards of one-turn replies in both readings, as docs/methods.md has them in its table of replies."""

import pytest

from thinkseg.chains import veason
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.rewards import REWARDS, Rollout
from thinkseg.types import View

SHOWN = (0, 1, 3)
EXACT = '{"keyframe_timestamp": 1, "bbox_2d_list": [[0, 0, 2, 1], [2, 3, 4, 4]]}'
"""The keyframe and the boxes of the fixture `two`. In frame 0, R_k is 1/2, and the first box alone is right."""


def tagged(body):
    return f"<think>both</think><answer>{body}</answer>"


def with_keyframe(label):
    return tagged(EXACT.replace("1", label, 1))


def with_boxes(boxes):
    return tagged(EXACT.replace("[[0, 0, 2, 1], [2, 3, 4, 4]]", boxes))


MANY = "[" + ", ".join(["[0, 0, 2, 1]"] * 65) + "]"

ROWS = {
    "exact": (tagged(EXACT), (1, 1, 1), (1, 1)),
    "whitespace around the tags": (f"\n{tagged(EXACT)}\n", (1, 1, 1), (1, 1)),
    "text before": ("So: " + tagged(EXACT), (0, 0, 0), (1, 1)),
    "text after": (tagged(EXACT) + " Done.", (0, 0, 0), (1, 1)),
    "text between": (tagged(EXACT).replace("<answer>", "so <answer>"), (0, 0, 0), (1, 1)),
    "no thinking": (f"<answer>{EXACT}</answer>", (0, 0, 0), (1, 1)),
    "no end of the answer": (tagged(EXACT).removesuffix("</answer>"), (0, 0, 0), (1, 1)),
    "doubled thinking": ("<think>one</think>" + tagged(EXACT), (0, 0, 0), (1, 1)),
    "two equal answers": (f"{tagged(EXACT)}<answer>{EXACT}</answer>", (0, 0, 0), (1, 1)),
    "two answers that differ": (
        tagged(EXACT) + '<answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 2, 1]]}</answer>',
        (0, 0, 0),
        (0, 0),
    ),
    "code fence": (tagged(f"```json\n{EXACT}\n```"), (0, 0, 0), (1, 1)),
    "single quotes": (tagged(EXACT.replace('"', "'")), (0, 0, 0), (1, 1)),
    "text in the answer": (tagged("Here: " + EXACT), (0, 0, 0), (1, 1)),
    "an object in a list": (tagged(f"[{EXACT}]"), (0, 0, 0), (1, 1)),
    "keyframe 1.0": (with_keyframe("1.0"), (1, 1, 1), (1, 1)),
    "keyframe 1.5": (with_keyframe("1.5"), (1, 0, 0), (0, 0)),
    "keyframe in quotes": (with_keyframe('"1"'), (1, 0, 0), (1, 1)),
    "keyframe 1.0 in quotes": (with_keyframe('"1.0"'), (1, 0, 0), (1, 1)),
    "keyframe true": (with_keyframe("true"), (1, 0, 0), (0, 0)),
    "keyframe not shown": (with_keyframe("2"), (1, 0, 0), (0, 0)),
    "keyframe null with boxes": (with_keyframe("null"), (1, 0, 0), (0, 0)),
    "no target": (with_keyframe("null").replace("[[0, 0, 2, 1], [2, 3, 4, 4]]", "[]"), (1, 0, 0), (0, 0)),
    "further fields": (tagged(EXACT.replace("{", '{"confidence": 0.9, ')), (0, 0, 0), (1, 1)),
    "a field twice": (tagged(EXACT.replace("{", '{"keyframe_timestamp": 0, ')), (0, 0, 0), (0, 0)),
    "no field of boxes": (tagged('{"keyframe_timestamp": 1}'), (0, 0, 0), (0, 0)),
    "a box of three numbers": (with_boxes("[[0, 0, 2, 1], [2, 3, 4]]"), (0, 1, 0), (1, 0)),
    "a coordinate in quotes": (with_boxes('[["0", 0, 2, 1]]'), (0, 1, 0), (1, 0.5)),
    "a coordinate NaN": (with_boxes("[[0, 0, 2, NaN]]"), (0, 1, 0), (1, 0)),
    "a coordinate Infinity": (with_boxes("[[0, 0, 2, Infinity]]"), (0, 1, 0), (1, 0)),
    "a coordinate true": (with_boxes("[[0, 0, 2, true]]"), (0, 1, 0), (1, 0)),
    "boxes as objects": (with_boxes('[{"bbox_2d": [0, 0, 2, 1]}]'), (0, 1, 0), (1, 0.5)),
    "a bare box": (with_boxes("[0, 0, 2, 1]"), (0, 1, 0), (1, 0.5)),
    "boxes null": (with_boxes("null"), (0, 1, 0), (1, 0)),
    "no box": (with_boxes("[]"), (1, 1, 0), (1, 0)),
    "a box without area": (with_boxes("[[2, 1, 0, 0]]"), (1, 1, 0), (1, 0)),
    "a box without area beside a good one": (with_boxes("[[0, 0, 2, 1], [3, 3, 3, 3]]"), (1, 1, 0), (1, 0.5)),
    "boxes beyond the frame": (with_boxes("[[-9, -9, 2, 1], [2, 3, 99, 99]]"), (1, 1, 1), (1, 1)),
    "a box outside the frame": (with_boxes("[[5, 5, 9, 9]]"), (1, 1, 0), (1, 0)),
    "65 boxes": (with_boxes(MANY), (1, 1, 0), (1, 0)),
    "300 boxes": (with_boxes("[" + ", ".join(["[0, 0, 2, 1]"] * 300) + "]"), (0, 0, 0), (0, 0)),
    "a long answer": (tagged(EXACT + " " * 16_384), (0, 0, 0), (0, 0)),
}
"""Text of the reply, R_f, R_k and R_s in the reading "strict", R_k and R_s in "repair"."""


def scored(prompt, text, reading, names):
    (outcome,) = run_chains(
        [veason(prompt.sample, View(4, (4, 4), label_unit="index"), SHOWN)], ScriptedPolicy([text]), reading=reading
    )
    return tuple(REWARDS[name].function(Rollout(prompt, outcome)) for name in names)


@pytest.mark.parametrize(("text", "strict", "repair"), ROWS.values(), ids=ROWS.keys())
def test_rewards_of_reply_in_both_readings(two, text, strict, repair):
    assert scored(two, text, "strict", ("format", "keyframe", "boxes")) == strict
    assert scored(two, text, "repair", ("keyframe", "boxes")) == repair
