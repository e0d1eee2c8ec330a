import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.errors import ModelError, SettingsError
from thinkseg.ops.masks import from_stacks
from thinkseg.ops.video import ArrayFrames
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import score_group
from thinkseg.types import Answer, Outcome, VideoSample

UPPER, LOWER = (0, 0, 2, 1), (2, 3, 4, 4)
"""The two targets in frame 1."""

ALL = {"format": 1, "keyframe": 1, "boxes": 1, "consistency": 1}


class NotingTracker:
    """Fills each box in every frame, and records its arguments."""

    name = "noting"

    def __init__(self):
        self.keyframes, self.boxes, self.videos = [], [], []

    def track(self, video, keyframe, boxes, progress=None):
        self.keyframes.append(keyframe)
        self.boxes.append(boxes.tolist())
        self.videos.append(np.stack([*video.read(range(len(video)))]))
        width, height = video.size_wh
        masks = np.zeros((len(boxes), len(video), height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            mask[:, y1:y2, x1:x2] = True
        return replace(from_stacks(masks), confidence=np.ones(masks.shape[:2], np.float32))


class IndependentTracker(NotingTracker):
    independent = True


class BrokenTracker:
    name = "broken"

    def track(self, video, keyframe, boxes, progress=None):
        raise ModelError("out of memory")


@pytest.fixture
def tracker():
    return NotingTracker()


@pytest.fixture
def outcomes(two, choose, fail):
    """Rollouts of `two`: the ground truth, the same in another order, one target, abstention, an invalid reply."""
    rollouts = [
        choose(two, 1, UPPER, LOWER),
        choose(two, 1, LOWER, UPPER),
        choose(two, 0, UPPER),
        choose(two, None),
        fail(two, "invalid_tags"),
    ]
    return [rollout.outcome for rollout in rollouts]


def test_score_group_terms_and_totals(two, outcomes, tracker):
    """Two filled boxes have the IoUs 2/4, 4/4 and 0 in frames 0, 1 and 3; the upper one alone has 1, 2/4 and 0."""
    scored = score_group(two, outcomes, {**ALL, "keyframe": 2, "box_hit": 0}, tracker)
    right, alone = (1, 1, 1, (1 / 2 + 1 + 0) / 3), (1, 1 / 2, 1, (1 + 1 / 2 + 0) / 3)
    expected = [right, right, alone, (1, 0, 0, 0), (0, 0, 0, 0)]
    assert [tuple(one.terms) for one in scored] == [("format", "keyframe", "boxes", "consistency")] * 5
    np.testing.assert_allclose([tuple(one.terms.values()) for one in scored], expected)
    np.testing.assert_allclose([one.total for one in scored], np.array(expected) @ (1, 2, 1, 1))


def test_score_group_equal_answers_tracked_once(two, outcomes, tracker):
    score_group(two, outcomes + outcomes, ALL, tracker)
    assert tracker.keyframes == [1, 0]
    assert tracker.boxes == [[[*UPPER], [*LOWER]], [[*UPPER]]]


def test_score_group_independent_tracker_gets_all_boxes_of_a_keyframe(two, choose):
    tracker, aside = IndependentTracker(), (1, 0, 3, 2)
    chosen = [(1, UPPER, LOWER), (0, UPPER), (1, LOWER, aside), (1, LOWER, UPPER), (1, aside)]
    outcomes = [choose(two, *answer).outcome for answer in chosen]
    scored = score_group(two, outcomes, ALL, tracker)
    assert tracker.keyframes == [1, 0]
    assert [sorted(boxes) for boxes in tracker.boxes] == [sorted(map(list, (UPPER, LOWER, aside))), [[*UPPER]]]
    assert scored == score_group(two, outcomes, ALL, NotingTracker())


def test_score_group_tracker_gets_frames_shown_read_once(two, choose, tracker):
    frames = (0, 2, 3)
    prompt = Prompt(two.sample, frames)
    score_group(prompt, [choose(prompt, k, (0, 0, 4, k + 1)).outcome for k in (2, 2, 0)], ALL, tracker)
    assert tracker.keyframes == [1, 0]
    assert [video[:, 0, 0, 0].tolist() for video in tracker.videos] == [[0, 2, 3], [0, 2, 3]]
    assert tuple(two.sample.video.reads) == frames


@pytest.mark.parametrize("weights", [{**ALL, "consistency": 0}, {"boxes": 1}])
def test_score_group_without_consistency_weight_tracks_nothing(two, outcomes, tracker, weights):
    for given_tracker in (tracker, None):
        (first, *_) = score_group(two, outcomes, weights, given_tracker)
        assert "consistency" not in first.terms
    assert (tracker.keyframes, two.sample.video.reads) == ([], [])


def test_score_group_without_matched_boxes_tracks_nothing(two, absent, unknown, choose, fail, tracker):
    groups = {
        two: [choose(two, None), fail(two, "invalid_tags"), choose(two, 3, UPPER)],
        absent: [choose(absent, None), choose(absent, 1, UPPER)],
        unknown: [choose(unknown, 1, UPPER)],
    }
    terms = {}
    for prompt, rollouts in groups.items():
        scored = score_group(prompt, [rollout.outcome for rollout in rollouts], ALL, tracker)
        terms[prompt] = [one.terms["consistency"] for one in scored]
        assert prompt.sample.video.reads == []
    assert terms == {two: [0, 0, 0], absent: [1, 0], unknown: [None]}
    assert tracker.keyframes == []


def test_score_group_term_that_does_not_apply_adds_nothing(unknown, choose, tracker):
    (scored,) = score_group(unknown, [choose(unknown, None).outcome], ALL, tracker)
    assert scored.terms == {"format": 1.0, "keyframe": None, "boxes": None, "consistency": None}
    assert scored.total == 1.0


def test_score_group_tracker_error_propagates(two, outcomes):
    with pytest.raises(ModelError, match="out of memory"):
        score_group(two, outcomes, ALL, BrokenTracker())


def test_score_group_consistency_without_tracker_raises(two, outcomes):
    with pytest.raises(SettingsError, match="reward 'consistency' requires a tracker"):
        score_group(two, outcomes, ALL)


def test_score_group_unknown_reward_raises(two, outcomes):
    with pytest.raises(SettingsError, match="unknown reward 'iou'"):
        score_group(two, outcomes, {"iou": 1})


def test_score_group_pickled_prompt_scores_the_same(two, outcomes):
    video = ArrayFrames(np.stack([*two.sample.video.read(range(4))]))
    prompt = Prompt(replace(two.sample, video=video), two.frame_indices)
    assert prompt.shows_target  # fills the caches, which are pickled too
    sent_prompt, sent_outcomes = pickle.loads(pickle.dumps((prompt, outcomes)))
    expected = score_group(prompt, outcomes, ALL, NotingTracker())
    assert score_group(sent_prompt, sent_outcomes, ALL, NotingTracker()) == expected


boxes = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)), min_size=1, max_size=3
)
answers = st.lists(st.tuples(st.integers(0, 3), boxes), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", [NotingTracker, IndependentTracker])
@given(answers=answers, bits=st.binary(min_size=16, max_size=16))
def test_score_group_matches_single_scores(kind, answers, bits):
    truth = from_stacks(np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(2, 4, 4, 4))
    video = ArrayFrames(np.zeros((4, 4, 4, 3), np.uint8))
    prompt = Prompt(VideoSample("any", video, "it", truth=truth), (0, 2, 3))
    outcomes = []
    for keyframe, drawn in answers:
        xyxy = np.array([(x, y, x + w, y + h) for x, y, w, h in drawn], np.float32)
        outcomes.append(Outcome(Answer("", keyframe, xyxy), None, ("reply",), keyframe))
    tracker = kind()
    together = score_group(prompt, outcomes, ALL, tracker)
    assert together == [score_group(prompt, [outcome], ALL, NotingTracker())[0] for outcome in outcomes]
    tracked = [(keyframe, str(found)) for keyframe, found in zip(tracker.keyframes, tracker.boxes, strict=True)]
    assert len(set(tracked)) == len(tracked)
