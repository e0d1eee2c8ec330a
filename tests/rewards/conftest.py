"""Prompts with four 4x4 frames, and their rollouts."""

import numpy as np
import pytest

from thinkseg.ops.masks import empty, from_stacks
from thinkseg.rewards import Prompt, Rollout
from thinkseg.types import Answer, Outcome, VideoSample

SHOWN = (0, 1, 3)


@pytest.fixture
def two(film):
    """A prompt with two targets; merged areas 2, 4, 8 and 0 in the four frames, the third of which is not shown."""
    masks = np.zeros((2, 4, 4, 4), bool)
    masks[0, 0, 0, :2] = True
    masks[0, 1, 0, :2] = True
    masks[1, 1, 3, 2:] = True
    masks[0, 2, :2] = True
    return Prompt(VideoSample("two", film(4, (4, 4)), "both", truth=from_stacks(masks)), SHOWN)


@pytest.fixture
def absent(film):
    """A prompt without a target."""
    return Prompt(VideoSample("absent", film(4, (4, 4)), "the green bar", truth=empty((4, 4), 4)), SHOWN)


@pytest.fixture
def unknown(film):
    """A prompt without ground truth."""
    return Prompt(VideoSample("unknown", film(4, (4, 4)), "anything"), SHOWN)


@pytest.fixture
def hidden(two):
    """A prompt whose targets are visible in other frames than the one shown."""
    return Prompt(two.sample, (3,))


@pytest.fixture
def choose():
    """Makes rollouts with an answer: choose(prompt, keyframe, *boxes)."""

    def choose(prompt, keyframe, *boxes):
        answer = Answer("", keyframe, np.array(boxes, np.float32).reshape(-1, 4))
        return Rollout(prompt, Outcome(answer, None, ("reply",), keyframe))

    return choose


@pytest.fixture
def fail():
    """Makes rollouts with an invalid reply: fail(prompt, reason, replies, keyframe, num_unasked_turns)."""

    def fail(prompt, reason, replies=1, keyframe=None, num_unasked_turns=0):
        return Rollout(prompt, Outcome(None, reason, ("reply",) * replies, keyframe, num_unasked_turns))

    return fail
