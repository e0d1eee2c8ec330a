"""What holds for every reward, and weights."""

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
def test_saying_there_is_none_is_right_exactly_where_there_is_none(name, two, absent, choose):
    assert REWARDS[name](choose(absent, None)) == 1.0
    assert REWARDS[name](choose(two, None)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_a_false_alarm_earns_nothing(name, absent, choose, fail):
    assert REWARDS[name](choose(absent, 1, A_BOX)) == 0.0
    assert REWARDS[name](fail(absent, "boxes", 2, keyframe=1)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
@pytest.mark.parametrize("reason", REASONS)
def test_a_reply_that_names_no_frame_earns_nothing(name, reason, two, absent, fail):
    assert REWARDS[name](fail(two, reason)) == 0.0
    assert REWARDS[name](fail(absent, reason)) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_nothing_is_asked_where_there_is_no_truth_or_nothing_to_be_seen(name, unknown, hidden, choose, fail):
    for prompt in (unknown, hidden):
        for rollout in (choose(prompt, None), choose(prompt, 3, A_BOX), choose(prompt, 2, A_BOX), fail(prompt, "tags")):
            assert REWARDS[name](rollout) is None


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_a_frame_that_was_not_shown_earns_nothing(name, two, choose):
    # Frame 2 holds the most of the targets.
    assert REWARDS[name](choose(two, 2, (0, 0, 4, 2))) == 0.0


@pytest.mark.parametrize("name", ABOUT_TARGETS)
def test_a_frame_without_the_target_earns_nothing(name, two, choose):
    assert REWARDS[name](choose(two, 3, A_BOX)) == 0.0


def masks(draw, objects, frames):
    """Masks of 4x4 pixels, bool (objects, frames, 4, 4)."""
    size = 2 * objects * frames
    bits = np.unpackbits(np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8))
    # Whole frames are emptied, which chance would hardly do.
    kept = np.array(draw(st.lists(st.booleans(), min_size=frames, max_size=frames)))
    return bits.reshape(objects, frames, 4, 4).astype(bool) & kept[:, None, None]


@st.composite
def rollouts(draw):
    """Any attempt at any question about a few 4x4 frames, with any masks."""
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
def test_every_reward_is_in_0_to_1_and_applies_to_all_attempts_at_a_prompt_or_to_none(rollout):
    abstention = Rollout(rollout.prompt, Outcome(Answer("", None, np.zeros((0, 4), np.float32)), None, ("reply",)))
    for name, reward in REWARDS.items():
        worth = reward(rollout)
        assert worth is None or (isinstance(worth, float) and 0 <= worth <= 1), name
        assert (worth is None) == (reward(abstention) is None), name


def test_weights_choose_rewards():
    assert checked_weights({"boxes": 1, "keyframe": 0.5, "format": 0}) == {"boxes": 1.0, "keyframe": 0.5}


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, True, "1", None])
def test_a_weight_is_a_number_of_at_least_0(weight):
    with pytest.raises(SettingsError, match=f"'boxes' has the weight {weight!r}"):
        checked_weights({"boxes": weight})


def test_a_reward_must_be_known():
    with pytest.raises(SettingsError, match=r"no reward 'iou'; there are: format, keyframe, boxes"):
        checked_weights({"iou": 1.0})


@pytest.mark.parametrize("weights", [{}, {"boxes": 0, "format": 0.0}])
def test_some_reward_must_count(weights):
    with pytest.raises(SettingsError, match="no reward has a weight above 0"):
        checked_weights(weights)
