"""Track precision against a plain walk through the evaluator's rules, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.ops.masks import from_stacks
from thinkseg.protocols.lgvis import lgvis, match_prompt, track_ious

STEPS = st.integers(0, 20).map(lambda step: np.float32(step / 20))


@st.composite
def prompts(draw, most=10):
    """IoUs and scores of one prompt."""
    shape = draw(st.integers(0, most)), draw(st.integers(0, 4))
    ious = [[draw(STEPS) for _ in range(shape[1])] for _ in range(shape[0])]
    scores = [draw(st.sampled_from([0.25, 0.5, 1.0])) for _ in range(shape[0])]
    return np.array(ious, np.float32).reshape(shape), np.array(scores, np.float32)


def plain_matches(ious, scores, threshold):
    """Whether each track, best score first, gets a true one: of all that fit, each replaces the one before."""
    if ious.shape[1] == 0 or len(ious) == 0:
        return [(score, False) for score in scores]
    taken, rows = [], []
    for track in np.argsort(-1.0 * scores):
        mine = None
        for true in range(ious.shape[1]):
            if true in taken or true == mine:
                continue
            if ious[track, true] >= threshold:
                mine = true
        taken.append(mine)
        rows.append((scores[track], mine is not None))
    return rows


def plain_precision(rows, num_true):
    """Average precision from (score, found) rows, by the definition of the area, point by point in float64."""
    order = np.argsort(-1.0 * np.array([score for score, _ in rows], np.float32))
    found = np.array([rows[i][1] for i in order])
    hits = np.cumsum(found)
    area, reached = 0.0, 0
    for place in range(len(found)):
        if found[place]:
            best_later = max(hits[k] / (k + 1) for k in range(place, len(found)))
            area += (hits[place] - reached) / num_true * best_later
            reached = hits[place]
    return 100 * area


@given(st.lists(prompts(), min_size=1, max_size=4))
def test_figures_are_those_of_the_evaluator(some):
    figures = lgvis([match_prompt(ious, scores) for ious, scores in some]).figures
    num_true = sum(ious.shape[1] for ious, _ in some)
    precisions = []
    for threshold in np.arange(0.5, 0.95 + 1e-4, 0.05):
        rows = [row for ious, scores in some for row in plain_matches(ious, scores, threshold)]
        if not rows:
            precisions.append(0.0)
        else:
            precisions.append(plain_precision(rows, num_true) if num_true else 100.0)
    assert len(precisions) == 10
    assert figures["mAP"] == pytest.approx(np.mean(precisions), rel=1e-5, abs=1e-4)
    for name, place in (("AP@50", 0), ("AP@75", 5), ("AP@90", 8)):
        assert figures[name] == pytest.approx(precisions[place], rel=1e-5, abs=1e-4)


def test_the_last_fitting_track_is_taken_or_the_best():
    # Both tracks fit both; the first takes what the second would need at higher thresholds.
    ious = np.array([[0.9, 0.6], [0.55, 0.2]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    quirky, fixed = match_prompt(ious, scores), match_prompt(ious, scores, fixed=True)
    assert quirky.found[0].tolist() == [
        True,
        True,
    ]  # at 0.5 the first takes the second true track, and leaves the first
    assert fixed.found[0].tolist() == [True, False]
    assert quirky.found[3].tolist() == fixed.found[3].tolist() == [True, False]


def test_a_perfect_answer_is_100_either_way():
    for fixed in (False, True):
        report = lgvis([match_prompt(np.eye(3, dtype=np.float32), fixed=fixed)] * 2, fixed=fixed)
        assert report.figures == {"mAP": 100, "AP@50": 100, "AP@75": 100, "AP@90": 100}
        assert ("quirks" in report.protocol) != fixed


def test_half_found_by_hand():
    # Right, wrong, right of two true tracks: recall 1/2 at precision 1, and 1 at 2/3.
    ious = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    figures = lgvis([match_prompt(ious, np.array([3, 2, 1], np.float32))]).figures
    assert figures["mAP"] == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


def test_no_predictions_and_no_truth():
    nothing, spurious = np.zeros((0, 2), np.float32), np.zeros((2, 0), np.float32)
    assert lgvis([match_prompt(nothing)]).figures["mAP"] == 0
    assert lgvis([match_prompt(spurious)]).figures["mAP"] == 100
    with pytest.raises(ValueError, match="no prompts"):
        lgvis([])


def test_more_than_ten_tracks():
    ious = np.zeros((11, 1), np.float32)
    ious[10] = 1
    with pytest.raises(ValueError, match="11 predicted tracks"):
        match_prompt(ious)
    assert not match_prompt(ious, fixed=True).found.any()
    assert match_prompt(ious, np.arange(11), fixed=True).found[:, 0].all()
    with pytest.raises(ValueError, match="one score for each"):
        match_prompt(ious, np.zeros(3), fixed=True)


def test_tracks_overlap_over_all_frames_at_once():
    truth, predicted = np.zeros((1, 3, 4, 4), bool), np.zeros((2, 3, 4, 4), bool)
    truth[0, :, :2] = True
    predicted[0, 0] = True
    predicted[0, 2, 0] = True
    ious = track_ious(from_stacks(predicted), from_stacks(truth), [0, 2])
    assert ious.dtype == np.float32
    assert ious.tolist() == [[np.float32((8 + 4) / (16 + 8))], [0]]
    assert track_ious(from_stacks(predicted), from_stacks(truth), [1])[0, 0] == 0
    empty = from_stacks(np.zeros((1, 3, 4, 4), bool))
    assert track_ious(empty, empty, [0]).tolist() == [[0]]
