"""Reasons against a reply."""

from dataclasses import replace

import numpy as np
import pytest

from annotating import good, steps_text
from thinkseg.annotation.verify import MAX_WORDS, REASONS, Truth, check_reply
from thinkseg.types import Reply

SUMMARY = "A cat comes into the garden and sits down in the grass."
REASON = "The cat shows best at 2.0 s."
PLACE = "It sits and looks about."


@pytest.fixture
def truth(task):
    """A target in the upper left quarter; frames at 0.0, 2.0 (the keyframe) and 3.0 s."""
    made = next(made for made in (task("single", seed) for seed in range(20)) if made.draft.keyframe == 2)
    return Truth(made.draft, made.num_objects, (16, 16))


def against(truth, summary=SUMMARY, reason=REASON, place=PLACE, **reply):
    return check_reply(Reply(steps_text(summary, reason, place), **reply), truth)[1]


@pytest.mark.parametrize("kind", ["single", "multiple", "none"])
def test_check_reply_good_reply_has_no_reasons(task, kind):
    for seed in range(4):
        made = task(kind, seed)
        steps, reasons = check_reply(Reply(good(made)), Truth(made.draft, made.num_objects, (16, 16)))
        assert reasons == []
        assert steps.thinking.endswith(steps.place)


def test_check_reply_unparsable_reply_has_no_steps(truth):
    assert check_reply(Reply("I would rather not."), truth) == (None, ["invalid_format"])
    assert check_reply(Reply(steps_text(SUMMARY, REASON, PLACE), truncated=True), truth) == (None, ["truncated"])
    assert check_reply(Reply(steps_text(SUMMARY, "about <answer> tags at 2.0 s", PLACE)), truth) == (
        None,
        ["invalid_format"],
    )
    assert check_reply(Reply("<think>x</think>"), truth) == (None, ["invalid_format"])


def test_check_reply_length_limits(truth):
    assert against(truth, "Cat.", REASON, "Sits.") == ["invalid_length"]
    assert against(truth, "cat " * (MAX_WORDS + 1)) == ["invalid_length"]


def test_check_reply_keyframe_must_be_named(truth):
    assert against(truth, reason="The cat shows well.") == ["wrong_keyframe"]
    assert against(truth, reason="The cat shows best at 3.0 s.") == ["wrong_keyframe"]
    assert against(truth, summary=f"{SUMMARY} See 2.0 s.", reason="The cat shows well.") == ["wrong_keyframe"]
    assert against(truth, reason="It is clear.", place="At 2 s it sits.") == []


def test_check_reply_last_step_names_only_keyframe(truth):
    assert against(truth, place="It sits. At 3.0 s it has gone.") == ["wrong_keyframe"]
    assert against(truth, reason="At 0.0 s it is away, so the frame is 2.0 s.") == []


def test_check_reply_frames_by_index(truth):
    draft = replace(truth.draft, label_unit="index", labels=("0", "2", "3"))
    numbered = replace(truth, draft=draft)
    assert against(numbered, reason="The cat shows best in frame 2.") == []
    assert against(numbered, reason="The cat shows best in frame 3.") == ["wrong_keyframe"]
    assert against(numbered) == ["wrong_keyframe"]


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("It sits on the left.", False),
        ("It sits at the top left.", False),
        ("It sits on the right.", True),
        ("It sits in the lower left corner.", True),
        ("It sits on the left, near the bottom.", True),
        ("It sits to the right of the tree.", False),
    ],
)
def test_check_reply_positions_at_keyframe(truth, place, wrong):
    assert against(truth, place=place) == ["wrong_position"] * wrong


def test_check_reply_positions_in_other_frames_are_ignored(truth):
    reason = "At 3.0 s it is on the right. The cat shows best at 2.0 s."
    assert against(truth, reason=reason) == []


def test_check_reply_central_target_is_on_both_sides(truth):
    middle = replace(truth, draft=replace(truth.draft, boxes=np.array([[3, 3, 5.4, 5.4]], np.float32)))
    for side in ("left", "right", "top", "bottom"):
        assert against(middle, place=f"It sits at the {side}.") == []


def test_check_reply_position_of_any_target_counts(truth):
    boxes = np.array([[0, 0, 2, 2], [6, 6, 8, 8]], np.float32)
    both = replace(truth, draft=replace(truth.draft, boxes=boxes), num_objects=2)
    assert against(both, place="The first is in the upper left corner, the second in the lower right corner.") == []
    assert against(both, place="The second is in the upper right corner.") == ["wrong_position"]


def test_check_reply_boxes_must_match_targets(truth):
    assert against(truth, place="cat [0, 0, 8, 8]") == []
    assert against(truth, place="cat [0, 0, 4, 4]") == ["wrong_boxes"]
    assert against(truth, place="cat [0, 0, 8, 8] and [0, 0, 8, 8]") == ["wrong_boxes"]
    normalized = replace(truth, limit_wh=(1000, 1000))
    assert against(normalized, place="cat [0, 0, 500, 500]") == []
    assert against(normalized, place="cat [0, 0, 8, 8]") == ["wrong_boxes"]
    boxes = np.array([[0, 0, 4, 4], [4, 4, 8, 8]], np.float32)
    both = replace(truth, draft=replace(truth.draft, boxes=boxes), num_objects=2)
    assert against(both, place="[0, 0, 8, 8] and [8, 8, 16, 16]") == []
    assert against(both, place="[0, 0, 8, 8] and [0, 0, 8, 8]") == ["wrong_boxes"]


def test_check_reply_counts_of_video_or_keyframe(truth):
    assert against(truth, place="There is a single target.") == []
    assert against(truth, place="The three targets sit.") == ["wrong_count"]
    # One of two targets may be hidden.
    both = replace(truth, num_objects=2)
    assert against(both, place="Both targets sit.") == []
    assert against(both, place="The single target sits.") == []


def test_check_reply_overlay_words(truth):
    assert against(truth, summary=f"{SUMMARY} It is outlined.") == ["mentions_overlay"]


def test_check_reply_presence_of_targets(truth, task):
    assert against(truth, place="There is no such object in the frame.") == ["wrong_presence"]
    made = task("none")
    nothing = Truth(made.draft, 0, (16, 16))
    assert against(nothing) == ["wrong_presence"]
    assert against(nothing, place="There is no cat.") == []


def test_check_reply_returns_all_reasons_in_order(truth):
    found = against(truth, "Outlined.", "On the right.", "Three targets [0,0,1,1].")
    assert found == [
        "invalid_length",
        "wrong_keyframe",
        "wrong_position",
        "wrong_boxes",
        "wrong_count",
        "mentions_overlay",
    ]
    assert set(found) < set(REASONS)
