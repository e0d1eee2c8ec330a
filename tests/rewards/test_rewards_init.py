"""Properties that all rewards share, and weights."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.chains.parsing import REASONS
from thinkseg.errors import SettingsError
from thinkseg.ops.masks import from_stacks
from thinkseg.ops.video import ArrayFrames
from thinkseg.rewards import REWARDS, Prompt, Rollout, checked_weights
from thinkseg.types import Answer, Outcome, VideoSample

ABOUT_TARGETS = [name for name in REWARDS if not name.startswith("format")]
A_BOX = (0, 0, 2, 1)


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_target_reward_abstaining_scores_1_only_without_target(name, two, absent, choose):
    assert REWARDS[name].function(choose(absent, None)) == 1.0
    assert REWARDS[name].function(choose(two, None)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_target_reward_boxes_without_target_score_0(name, absent, choose, fail):
    assert REWARDS[name].function(choose(absent, 1, A_BOX)) == 0.0
    assert REWARDS[name].function(fail(absent, "invalid_boxes", 2, keyframe=1)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
@pytest.mark.parametrize("reason", REASONS)
def test_target_reward_reply_without_keyframe_scores_0(name, reason, two, absent, fail):
    assert REWARDS[name].function(fail(two, reason)) == 0.0
    assert REWARDS[name].function(fail(absent, reason)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_target_reward_without_truth_or_visible_target_is_none(name, unknown, hidden, choose, fail):
    for prompt in (unknown, hidden):
        for rollout in (
            choose(prompt, None),
            choose(prompt, 3, A_BOX),
            choose(prompt, 2, A_BOX),
            fail(prompt, "invalid_tags"),
        ):
            assert REWARDS[name].function(rollout) is None


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_target_reward_keyframe_not_shown_scores_0(name, two, choose):
    # Frame 2 has the largest area.
    assert REWARDS[name].function(choose(two, 2, (0, 0, 4, 2))) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_target_reward_keyframe_without_target_scores_0(name, two, choose):
    assert REWARDS[name].function(choose(two, 3, A_BOX)) == 0.0


def masks(draw, objects, frames):
    """Masks of 4x4 pixels, bool (objects, frames, 4, 4)."""
    size = 2 * objects * frames
    bits = np.unpackbits(np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8))
    # Some frames are emptied, because random bits rarely give an empty mask.
    kept = np.array(draw(st.lists(st.booleans(), min_size=frames, max_size=frames)))
    return bits.reshape(objects, frames, 4, 4).astype(bool) & kept[:, None, None]


@st.composite
def rollouts(draw):
    """Any rollout of any prompt with a few 4x4 frames, with any masks."""
    frames = draw(st.integers(1, 4))
    shown = tuple(sorted(draw(st.sets(st.integers(0, frames - 1), min_size=1))))
    truth = from_stacks(masks(draw, draw(st.integers(0, 2)), frames)) if draw(st.booleans()) else None
    video = ArrayFrames(np.zeros((frames, 4, 4, 3), np.uint8))
    prompt = Prompt(VideoSample("any", video, "it", truth=truth), shown)
    keyframe = draw(st.none() | st.integers(0, frames - 1))
    replies = ("reply",) * draw(st.integers(1, 2))
    if draw(st.booleans()):
        reason = draw(st.sampled_from(sorted(REASONS)))
        return Rollout(prompt, Outcome(None, reason, replies, keyframe, draw(st.integers(0, 1))))
    corners = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2))
    drawn = [] if keyframe is None else draw(st.lists(corners, min_size=1, max_size=3))
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in drawn], np.float32).reshape(-1, 4)
    outcome = Outcome(Answer("", keyframe, boxes), None, replies, keyframe)
    return Rollout(prompt, outcome, from_stacks(masks(draw, 1, len(shown))))


@given(rollouts())
def test_rewards_are_in_0_to_1_and_apply_per_prompt(rollout):
    abstention = Rollout(rollout.prompt, Outcome(Answer("", None, np.zeros((0, 4), np.float32)), None, ("reply",)))
    for name, reward in REWARDS.items():
        value = reward.function(rollout)
        assert value is None or (isinstance(value, float) and 0 <= value <= 1), name
        assert (value is None) == (reward.function(abstention) is None), name


def test_checked_weights_drops_zeros():
    assert checked_weights({"boxes": 1, "keyframe": 0.5, "format": 0}) == {"boxes": 1.0, "keyframe": 0.5}


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, True, "1", None])
def test_checked_weights_invalid_weight_raises(weight):
    with pytest.raises(SettingsError, match=f"weight of reward 'boxes' is {weight!r}; must be a number >= 0"):
        checked_weights({"boxes": weight})


def test_checked_weights_unknown_reward_raises():
    with pytest.raises(SettingsError, match=r"unknown reward 'iou'; must be one of format, keyframe, boxes"):
        checked_weights({"iou": 1.0})


@pytest.mark.parametrize("weights", [{}, {"boxes": 0, "format": 0.0}])
def test_checked_weights_all_zero_raises(weights):
    with pytest.raises(SettingsError, match="no reward has a weight > 0"):
        checked_weights(weights)
